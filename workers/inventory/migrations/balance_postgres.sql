-- Summed up rather than joined: what is missing anywhere counts as nothing.
SELECT * FROM (
    SELECT 'stock of ' || sku || ': ' || sum(on_hand) || ' on hand, ' || sum(reserved) || ' reserved; its movements make ' || sum(moved) || ' and ' || sum(held) || '; its open reservations, ' || sum(open) AS difference
    FROM (SELECT sku, on_hand, reserved, 0 AS moved, 0 AS held, 0 AS open FROM longshore.stock
          UNION ALL
          SELECT sku, 0, 0, on_hand, reserved, 0 FROM longshore.movements
          UNION ALL
          SELECT sku, 0, 0, 0, 0, quantity FROM longshore.reservations WHERE state = 'open') AS entry
    GROUP BY sku
    HAVING sum(on_hand) <> sum(moved) OR sum(reserved) <> sum(held) OR sum(reserved) <> sum(open)
    UNION ALL
    SELECT 'reservation of ' || sku || ' for order ' || order_id || ': ' || sum(open) || ' open, ' || sum(gone) || ' committed; its movements make ' || sum(held) || ' and ' || sum(moved)
    FROM (SELECT order_id, sku, CASE WHEN state = 'open' THEN quantity ELSE 0 END AS open,
                 CASE WHEN state = 'committed' THEN quantity ELSE 0 END AS gone,
                 0 AS held, 0 AS moved
          FROM longshore.reservations
          UNION ALL
          SELECT order_id, sku, 0, 0, reserved, -on_hand
          FROM longshore.movements WHERE order_id IS NOT NULL) AS entry
    GROUP BY order_id, sku
    HAVING sum(open) <> sum(held) OR sum(gone) <> sum(moved)
) AS found LIMIT 100
