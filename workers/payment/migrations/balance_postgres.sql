-- `done` is asked by kind and state, which an index answers; the rest is a pass over the ledger.
SELECT * FROM (
    SELECT format('payment %s: %s refunded; its refunds make %s', p.reference, p.refunded,
                  COALESCE(r.total, 0))
    FROM longshore.payments p
    LEFT JOIN (SELECT reference, sum(amount) AS total
               FROM longshore.refunds WHERE state = 'succeeded' GROUP BY reference) r
        USING (reference)
    WHERE p.refunded <> COALESCE(r.total, 0)
    UNION ALL
    SELECT format('payment %s: refunds of %s are done or under way, but %s was charged',
                  p.reference, r.total, p.amount)
    FROM longshore.payments p
    JOIN (SELECT reference, sum(amount) AS total
          FROM longshore.refunds WHERE state <> 'refused' GROUP BY reference) r USING (reference)
    WHERE r.total > p.amount
    UNION ALL
    SELECT format('payment %s: a job has succeeded that was to charge it, but it is %s', p.reference, p.state)
    FROM longshore.payments p
    WHERE p.state <> 'succeeded' AND EXISTS (
        SELECT FROM longshore.done d WHERE d.id = p.job::uuid AND d.state = 4
                                       AND d.kind = 'payment.charge')
    UNION ALL
    SELECT format('payment %s: job %s has charged %s, but the ledger has %s', t.reference, t.id,
                  t.amount, COALESCE(p.amount::text, 'nothing'))
    FROM (SELECT d.id, said.value ->> 'reference' AS reference,
                 (said.value ->> 'amount')::bigint AS amount
          FROM longshore.done d
          CROSS JOIN LATERAL (SELECT convert_from(d.result, 'UTF8')::jsonb OFFSET 0) said (value)
          WHERE d.kind = 'payment.charge' AND d.state = 4 AND d.result IS NOT NULL) t
    LEFT JOIN longshore.payments p ON p.reference = t.reference
    WHERE p.amount IS DISTINCT FROM t.amount
) AS difference (what) LIMIT 100
