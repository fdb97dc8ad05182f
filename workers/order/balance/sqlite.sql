SELECT what FROM (
    SELECT printf('order %s: it is paid, its stock is %s, and no job is at it', p.reference,
                  group_concat(DISTINCT r.state)) AS what
    FROM payments p
    JOIN reservations r ON r.order_id = p.reference
    WHERE p.state = 'succeeded' AND p.refunded = 0 AND r.state <> 'committed'
      AND NOT EXISTS (
        SELECT 1 FROM job j
        WHERE j.state < 4 AND j.id = unhex(replace(p.job, '-', '')))
      AND NOT EXISTS (
        SELECT 1 FROM job j, json_each(j.tags) t
        WHERE j.state < 4 AND t.value = 'order:' || p.reference
          AND (j.kind LIKE 'order.%' OR j.kind = 'payment.refund'))
    GROUP BY p.reference
) LIMIT 100
