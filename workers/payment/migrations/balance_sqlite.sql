-- The ledger against itself, and against the results of the jobs that are still known, in both
-- directions. An order's charge says the same as a charge does, if it paid. A payment may succeed without its job (which was cancelled, or cut off), a refund
-- may not.
WITH known AS (
    SELECT lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-'
                 || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4) || '-'
                 || substr(hex(id), 21)) AS id,
           kind, state, result
    FROM job WHERE kind IN ('payment.charge', 'payment.refund', 'order.charge')),
said AS (
    SELECT id, kind, result ->> 'reference' AS reference, result ->> 'amount' AS amount,
           result ->> 'currency' AS currency, result ->> 'payment_intent' AS intent,
           result ->> 'charge' AS charge, result ->> 'refund' AS refund
    FROM known WHERE state = 4 AND result IS NOT NULL)
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
    SELECT printf('payment %s: it is succeeded, and was refused with %s', reference, code)
    FROM payments WHERE state = 'succeeded' AND code IS NOT NULL
    UNION ALL
    SELECT printf('payment %s: it is %s, and its job %s has ended: nobody knows what became of intent %s',
                  p.reference, p.state, p.job, p.intent)
    FROM payments p
    WHERE p.state NOT IN ('succeeded', 'refused') AND p.intent IS NOT NULL
      AND NOT EXISTS (
        SELECT 1 FROM job j WHERE j.id = unhex(replace(p.job, '-', '')) AND j.state < 4)
    UNION ALL
    SELECT printf('payment %s: its refund by job %s is open, and the job has ended: send it back',
                  r.reference, r.job)
    FROM refunds r
    WHERE r.state = 'open'
      AND NOT EXISTS (
        SELECT 1 FROM job j WHERE j.id = unhex(replace(r.job, '-', '')) AND j.state < 4)
    UNION ALL
    SELECT printf('payment %s: a job has succeeded that was to charge it, but it is %s', p.reference, p.state)
    FROM payments p
    WHERE p.state <> 'succeeded' AND EXISTS (
        SELECT 1 FROM known k WHERE k.id = p.job AND k.state = 4 AND k.kind = 'payment.charge')
    UNION ALL
    SELECT printf('payment %s: job %s has charged %s %s (%s, %s), but the ledger has %s', t.reference,
                  t.id, t.amount, t.currency, t.intent, t.charge,
                  CASE WHEN p.reference IS NULL THEN 'nothing' ELSE
                      printf('%s %s (%s, %s), %s', p.amount, p.currency, p.intent, p.charge,
                             p.state) END)
    FROM said t
    LEFT JOIN payments p ON p.reference = t.reference
    WHERE t.kind <> 'payment.refund' AND t.intent IS NOT NULL
      AND (p.state, p.amount, p.currency, p.intent, p.charge)
          IS NOT ('succeeded', t.amount, t.currency, t.intent, t.charge)
    UNION ALL
    SELECT printf('payment %s: job %s has refunded %s (%s), but the ledger has %s', t.reference,
                  t.id, t.amount, t.refund,
                  CASE WHEN r.job IS NULL THEN 'nothing' ELSE
                      printf('%s of %s (%s), %s', r.amount, r.reference, r.refund, r.state) END)
    FROM said t
    LEFT JOIN refunds r ON r.job = t.id
    WHERE t.kind = 'payment.refund'
      AND (r.state, r.reference, r.amount, r.refund)
          IS NOT ('succeeded', t.reference, t.amount, t.refund)
    UNION ALL
    SELECT printf('payment %s: its refund by job %s is succeeded, but the job is not', r.reference,
                  r.job)
    FROM refunds r
    WHERE r.state = 'succeeded' AND EXISTS (
        SELECT 1 FROM known k WHERE k.id = r.job AND k.state <> 4)
) LIMIT 100
