-- A job that frees what has expired commits that and goes on. When it runs again, the same line may
-- have been reserved anew and have expired anew: that it frees once more. What it moves for itself
-- it still moves once.
ALTER TABLE longshore.movements DROP CONSTRAINT movements_job_order_id_sku_kind_key;
CREATE UNIQUE INDEX movements_job ON longshore.movements (job, order_id, sku, kind)
    NULLS NOT DISTINCT WHERE kind <> 'expire';
