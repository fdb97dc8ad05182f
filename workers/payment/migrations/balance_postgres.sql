SELECT * FROM (
    SELECT format('payment %s: %s refunded; its refunds make %s', p.reference, p.refunded,
                  COALESCE(r.total, 0))
    FROM longshore.payments p
    LEFT JOIN (SELECT reference, sum(amount) AS total
               FROM longshore.refunds WHERE state = 'succeeded' GROUP BY reference) r
        USING (reference)
    WHERE p.refunded <> COALESCE(r.total, 0)
    UNION ALL
    SELECT format('payment %s: a job has succeeded that was to charge it, but it is %s', p.reference, p.state)
    FROM longshore.payments p
    WHERE p.state <> 'succeeded' AND EXISTS (
        SELECT FROM longshore.done d WHERE d.id = p.job::uuid AND d.state = 4)
) AS difference (what) LIMIT 100
