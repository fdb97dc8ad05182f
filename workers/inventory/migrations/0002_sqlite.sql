-- A job that frees what has expired commits that and goes on. When it runs again, the same line may
-- have been reserved anew and have expired anew: that it frees once more. What it moves for itself
-- it still moves once.
DROP INDEX movements_job;
CREATE UNIQUE INDEX movements_job ON movements (job, coalesce(order_id, ''), sku, kind)
    WHERE kind <> 'expire';
