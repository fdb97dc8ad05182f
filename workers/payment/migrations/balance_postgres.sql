-- The ledger against itself, and against the results of the jobs that are still known, in both
-- directions. `done` is read once, by kind and state; the rest is a pass over
-- the ledger. An order's charge says the same as a charge does, if it paid. A payment may succeed without its job (which was cancelled, or cut off), a refund
-- may not.
WITH said AS (
    SELECT d.id, d.kind, v.value ->> 'reference' AS reference,
           (v.value ->> 'amount')::bigint AS amount, v.value ->> 'currency' AS currency,
           v.value ->> 'payment_intent' AS intent, v.value ->> 'charge' AS charge,
           v.value ->> 'refund' AS refund
    FROM longshore.done d
    CROSS JOIN LATERAL (SELECT convert_from(d.result, 'UTF8')::jsonb OFFSET 0) v (value)
    WHERE d.kind IN ('payment.charge', 'payment.refund', 'order.charge') AND d.state = 4
      AND d.result IS NOT NULL)
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
    SELECT format('payment %s: it is succeeded, and was refused with %s', reference, code)
    FROM longshore.payments WHERE state = 'succeeded' AND code IS NOT NULL
    UNION ALL
    SELECT format('payment %s: it is %s, and its job %s has ended: nobody knows what became of intent %s',
                  p.reference, p.state, p.job, p.intent)
    FROM longshore.payments p
    WHERE p.state NOT IN ('succeeded', 'refused') AND p.intent IS NOT NULL
      AND NOT EXISTS (SELECT FROM longshore.live l WHERE l.id = p.job::uuid)
    UNION ALL
    SELECT format('payment %s: its refund by job %s is open, and the job has ended: send it back',
                  r.reference, r.job)
    FROM longshore.refunds r
    WHERE r.state = 'open'
      AND NOT EXISTS (SELECT FROM longshore.live l WHERE l.id = r.job::uuid)
    UNION ALL
    SELECT format('payment %s: a job has succeeded that was to charge it, but it is %s', p.reference, p.state)
    FROM longshore.payments p
    WHERE p.state <> 'succeeded' AND EXISTS (
        SELECT FROM longshore.done d WHERE d.id = p.job::uuid AND d.state = 4
                                       AND d.kind = 'payment.charge')
    UNION ALL
    SELECT format('payment %s: job %s has charged %s %s (%s, %s), but the ledger has %s', t.reference,
                  t.id, t.amount, t.currency, t.intent, t.charge,
                  CASE WHEN p.reference IS NULL THEN 'nothing' ELSE
                      format('%s %s (%s, %s), %s', p.amount, p.currency, p.intent, p.charge,
                             p.state) END)
    FROM said t
    LEFT JOIN longshore.payments p ON p.reference = t.reference
    WHERE t.kind <> 'payment.refund' AND t.intent IS NOT NULL
      AND (p.state, p.amount, p.currency, p.intent, p.charge)
          IS DISTINCT FROM ('succeeded', t.amount, t.currency, t.intent, t.charge)
    UNION ALL
    SELECT format('payment %s: job %s has refunded %s (%s), but the ledger has %s', t.reference,
                  t.id, t.amount, t.refund,
                  CASE WHEN r.job IS NULL THEN 'nothing' ELSE
                      format('%s of %s (%s), %s', r.amount, r.reference, r.refund, r.state) END)
    FROM said t
    LEFT JOIN longshore.refunds r ON r.job = t.id::text
    WHERE t.kind = 'payment.refund'
      AND (r.state, r.reference, r.amount, r.refund)
          IS DISTINCT FROM ('succeeded', t.reference, t.amount, t.refund)
    UNION ALL
    SELECT format('payment %s: its refund by job %s is succeeded, but the job is not', r.reference,
                  r.job)
    FROM longshore.refunds r
    WHERE r.state = 'succeeded'
      AND (EXISTS (SELECT FROM longshore.live l WHERE l.id = r.job::uuid)
           OR EXISTS (SELECT FROM longshore.done d WHERE d.id = r.job::uuid AND d.state <> 4))
) AS difference (what) LIMIT 100
