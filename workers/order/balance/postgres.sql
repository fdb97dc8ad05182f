SELECT * FROM (
    SELECT format('order %s: it is paid, its stock is %s, and no job is at it', p.reference,
                  string_agg(DISTINCT r.state, ', '))
    FROM longshore.payments p
    JOIN longshore.reservations r ON r.order_id = p.reference
    WHERE p.state = 'succeeded' AND p.refunded = 0 AND r.state <> 'committed'
      AND NOT EXISTS (SELECT FROM longshore.live l WHERE l.id = p.job::uuid)
      AND NOT EXISTS (
        SELECT FROM longshore.tag t
        JOIN longshore.live l ON l.id = t.id
        JOIN longshore.job j ON j.id = t.id
        WHERE t.tag = 'order:' || p.reference
          AND (j.kind LIKE 'order.%' OR j.kind = 'payment.refund'))
    GROUP BY p.reference
) AS difference (what) LIMIT 100
