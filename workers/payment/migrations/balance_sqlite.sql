SELECT what FROM (
    SELECT printf('payment %s: %d refunded; its refunds make %d', p.reference, p.refunded,
                  coalesce(r.total, 0)) AS what
    FROM payments p
    LEFT JOIN (SELECT reference, sum(amount) AS total
               FROM refunds WHERE state = 'succeeded' GROUP BY reference) r
        ON r.reference = p.reference
    WHERE p.refunded <> coalesce(r.total, 0)
    UNION ALL
    SELECT printf('payment %s: refunds of %d are done or under way, but %d was charged',
                  p.reference, r.total, p.amount)
    FROM payments p
    JOIN (SELECT reference, sum(amount) AS total
          FROM refunds WHERE state <> 'refused' GROUP BY reference) r
        ON r.reference = p.reference
    WHERE r.total > p.amount
    UNION ALL
    SELECT printf('payment %s: a job has succeeded that was to charge it, but it is %s', p.reference, p.state)
    FROM payments p
    WHERE p.state <> 'succeeded' AND EXISTS (
        SELECT 1 FROM job j
        WHERE j.id = unhex(replace(p.job, '-', '')) AND j.state = 4
          AND j.kind = 'payment.charge')
    UNION ALL
    SELECT printf('payment %s: job %s has charged %d, but the ledger has %s', t.reference, t.id,
                  t.amount, coalesce(p.amount, 'nothing'))
    FROM (SELECT lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-'
                       || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4) || '-'
                       || substr(hex(id), 21)) AS id,
                 result ->> 'reference' AS reference, result ->> 'amount' AS amount
          FROM job WHERE kind = 'payment.charge' AND state = 4 AND result IS NOT NULL) t
    LEFT JOIN payments p ON p.reference = t.reference
    WHERE p.amount IS NOT t.amount
) LIMIT 100
