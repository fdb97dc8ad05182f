use chrono::{DateTime, Utc};
use longshore::job::JobId;
use sqlx::{PgConnection, Result};

use super::payload::Item;
use super::plan::{Line, LineState, Movement};

/// The first half of the advisory locks of orders: `stoc`. The other half is the order's hash;
/// two orders that share one wait for each other, which is no harm.
const ORDERS: i32 = 0x7374_6f63;

pub(super) async fn enter(db: &mut PgConnection, order: Option<&str>) -> Result<DateTime<Utc>> {
    let query = match order {
        // Of the transaction, so that it holds behind a pooler.
        Some(order) => {
            sqlx::query_scalar("SELECT now() FROM pg_advisory_xact_lock($1, hashtext($2))")
                .bind(ORDERS)
                .bind(order)
        }
        None => sqlx::query_scalar("SELECT now()"),
    };
    query.fetch_one(db).await
}

pub(super) async fn create(db: &mut PgConnection, sku: &str) -> Result<()> {
    sqlx::query("INSERT INTO longshore.stock (sku) VALUES ($1) ON CONFLICT (sku) DO NOTHING")
        .bind(sku)
        .execute(db)
        .await?;
    Ok(())
}

type LineRow = (String, String, i64, String, DateTime<Utc>);

fn line((order, sku, quantity, state, expires_at): LineRow, now: DateTime<Utc>) -> Result<Line> {
    let unknown = || sqlx::Error::Decode(format!("a reservation is `{state}`").into());
    Ok(Line {
        order,
        sku,
        quantity,
        state: LineState::from_name(&state).ok_or_else(unknown)?,
        overdue: expires_at <= now,
    })
}

pub(super) async fn lines(
    db: &mut PgConnection,
    order: &str,
    now: DateTime<Utc>,
) -> Result<Vec<Line>> {
    let rows: Vec<LineRow> = sqlx::query_as(
        "SELECT order_id, sku, quantity, state, expires_at FROM longshore.reservations
         WHERE order_id = $1 ORDER BY sku",
    )
    .bind(order)
    .fetch_all(db)
    .await?;
    rows.into_iter().map(|row| line(row, now)).collect()
}

pub(super) async fn lock(db: &mut PgConnection, skus: &[&str]) -> Result<Vec<(String, i64, i64)>> {
    sqlx::query_as(
        "SELECT sku, on_hand, reserved FROM longshore.stock
         WHERE sku = ANY ($1) ORDER BY sku FOR NO KEY UPDATE",
    )
    .bind(skus)
    .fetch_all(db)
    .await
}

/// A statement of its own, whose snapshot sees what those did that held the SKUs before.
pub(super) async fn expire(
    db: &mut PgConnection,
    skus: &[&str],
    each: i64,
    now: DateTime<Utc>,
) -> Result<Vec<Line>> {
    let rows: Vec<LineRow> = sqlx::query_as(
        "UPDATE longshore.reservations AS r SET state = 'expired', ended_at = $2
         FROM unnest($1::text[]) AS wanted (sku)
         CROSS JOIN LATERAL (
             SELECT order_id FROM longshore.reservations
             WHERE sku = wanted.sku AND state = 'open' AND expires_at <= $2
             ORDER BY expires_at LIMIT $3) AS overdue
         WHERE r.order_id = overdue.order_id AND r.sku = wanted.sku
         RETURNING r.order_id, r.sku, r.quantity, r.state, r.expires_at",
    )
    .bind(skus)
    .bind(now)
    .bind(each)
    .fetch_all(db)
    .await?;
    rows.into_iter().map(|row| line(row, now)).collect()
}

pub(super) async fn forget(db: &mut PgConnection, order: &str) -> Result<()> {
    sqlx::query("DELETE FROM longshore.reservations WHERE order_id = $1")
        .bind(order)
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn reserve(
    db: &mut PgConnection,
    order: &str,
    items: &[Item],
    expires_at: DateTime<Utc>,
    job: JobId,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO longshore.reservations
             (order_id, sku, quantity, state, expires_at, created_at, job)
         SELECT $1, sku, quantity, 'open', $4, $5, $6
         FROM unnest($2::text[], $3::bigint[]) AS item (sku, quantity)",
    )
    .bind(order)
    .bind(items.iter().map(|item| &*item.sku).collect::<Vec<_>>())
    .bind(items.iter().map(|item| item.quantity).collect::<Vec<_>>())
    .bind(expires_at)
    .bind(now)
    .bind(job.uuid())
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn end(
    db: &mut PgConnection,
    order: &str,
    state: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query(
        "UPDATE longshore.reservations SET state = $2, ended_at = $3
         WHERE order_id = $1 AND state = 'open'",
    )
    .bind(order)
    .bind(state)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// One statement for all of it: a hot SKU is locked meanwhile.
pub(super) async fn apply(
    db: &mut PgConnection,
    movements: &[Movement],
    reason: Option<&str>,
    job: JobId,
    now: DateTime<Utc>,
) -> Result<()> {
    let each = || movements.iter();
    sqlx::query(
        "WITH given AS (
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
                 AS given (sku, kind, order_id, on_hand, reserved)),
         told AS (
             INSERT INTO longshore.movements
                 (sku, kind, order_id, on_hand, reserved, reason, job, at)
             SELECT sku, kind, order_id, on_hand, reserved, $6, $7, $8 FROM given),
         total AS (
             SELECT sku, sum(on_hand)::bigint AS on_hand, sum(reserved)::bigint AS reserved
             FROM given GROUP BY sku)
         UPDATE longshore.stock AS s
         SET on_hand = s.on_hand + total.on_hand, reserved = s.reserved + total.reserved
         FROM total WHERE s.sku = total.sku",
    )
    .bind(each().map(|m| &*m.sku).collect::<Vec<_>>())
    .bind(each().map(|m| m.kind).collect::<Vec<_>>())
    .bind(each().map(|m| m.order.as_deref()).collect::<Vec<_>>())
    .bind(each().map(|m| m.on_hand).collect::<Vec<_>>())
    .bind(each().map(|m| m.reserved).collect::<Vec<_>>())
    .bind(reason)
    .bind(job.uuid())
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}
