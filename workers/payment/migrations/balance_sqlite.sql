SELECT what FROM (
    SELECT printf('payment %s: %d refunded; its refunds make %d', p.reference, p.refunded,
                  coalesce(r.total, 0)) AS what
    FROM payments p
    LEFT JOIN (SELECT reference, sum(amount) AS total
               FROM refunds WHERE state = 'succeeded' GROUP BY reference) r
        ON r.reference = p.reference
    WHERE p.refunded <> coalesce(r.total, 0)
    UNION ALL
    SELECT printf('payment %s: a job has succeeded that was to charge it, but it is %s', p.reference, p.state)
    FROM payments p
    WHERE p.state <> 'succeeded' AND EXISTS (
        SELECT 1 FROM job j
        WHERE j.id = unhex(replace(p.job, '-', '')) AND j.state = 4)
) LIMIT 100
