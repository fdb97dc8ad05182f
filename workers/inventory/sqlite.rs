//! The transaction is the only writer, so there is nothing to lock.

use chrono::{DateTime, Utc};
use longshore::job::JobId;
use sqlx::{Result, SqliteConnection};

use super::payload::Item;
use super::plan::{Line, LineState, Movement};

pub(super) async fn create(db: &mut SqliteConnection, sku: &str) -> Result<()> {
    sqlx::query("INSERT INTO stock (sku) VALUES (?1) ON CONFLICT (sku) DO NOTHING")
        .bind(sku)
        .execute(db)
        .await?;
    Ok(())
}

type LineRow = (String, String, i64, String, i64);

fn line((order, sku, quantity, state, expires_at): LineRow, now: DateTime<Utc>) -> Result<Line> {
    let unknown = || sqlx::Error::Decode(format!("a reservation is `{state}`").into());
    Ok(Line {
        order,
        sku,
        quantity,
        state: LineState::from_name(&state).ok_or_else(unknown)?,
        overdue: expires_at <= now.timestamp_micros(),
    })
}

pub(super) async fn lines(
    db: &mut SqliteConnection,
    order: &str,
    now: DateTime<Utc>,
) -> Result<Vec<Line>> {
    let rows: Vec<LineRow> = sqlx::query_as(
        "SELECT order_id, sku, quantity, state, expires_at FROM reservations
         WHERE order_id = ?1 ORDER BY sku",
    )
    .bind(order)
    .fetch_all(db)
    .await?;
    rows.into_iter().map(|row| line(row, now)).collect()
}

pub(super) async fn lock(
    db: &mut SqliteConnection,
    skus: &[&str],
) -> Result<Vec<(String, i64, i64)>> {
    sqlx::query_as(
        "SELECT sku, on_hand, reserved FROM stock
         WHERE sku IN (SELECT value FROM json_each(?1)) ORDER BY sku",
    )
    .bind(sqlx::types::Json(skus))
    .fetch_all(db)
    .await
}

pub(super) async fn expire(
    db: &mut SqliteConnection,
    skus: &[&str],
    each: i64,
    now: DateTime<Utc>,
) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for sku in skus {
        let rows: Vec<LineRow> = sqlx::query_as(
            "UPDATE reservations SET state = 'expired', ended_at = ?2
             WHERE sku = ?1 AND order_id IN (
                 SELECT order_id FROM reservations
                 WHERE sku = ?1 AND state = 'open' AND expires_at <= ?2
                 ORDER BY expires_at LIMIT ?3)
             RETURNING order_id, sku, quantity, state, expires_at",
        )
        .bind(*sku)
        .bind(now.timestamp_micros())
        .bind(each)
        .fetch_all(&mut *db)
        .await?;
        for row in rows {
            lines.push(line(row, now)?);
        }
    }
    Ok(lines)
}

pub(super) async fn forget(db: &mut SqliteConnection, order: &str) -> Result<()> {
    sqlx::query("DELETE FROM reservations WHERE order_id = ?1")
        .bind(order)
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn reserve(
    db: &mut SqliteConnection,
    order: &str,
    items: &[Item],
    expires_at: DateTime<Utc>,
    job: JobId,
    now: DateTime<Utc>,
) -> Result<()> {
    for item in items {
        sqlx::query(
            "INSERT INTO reservations
                 (order_id, sku, quantity, state, expires_at, created_at, job)
             VALUES (?1, ?2, ?3, 'open', ?4, ?5, ?6)",
        )
        .bind(order)
        .bind(&item.sku)
        .bind(item.quantity)
        .bind(expires_at.timestamp_micros())
        .bind(now.timestamp_micros())
        .bind(job.uuid())
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

pub(super) async fn end(
    db: &mut SqliteConnection,
    order: &str,
    state: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query(
        "UPDATE reservations SET state = ?2, ended_at = ?3 WHERE order_id = ?1 AND state = 'open'",
    )
    .bind(order)
    .bind(state)
    .bind(now.timestamp_micros())
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn apply(
    db: &mut SqliteConnection,
    movements: &[Movement],
    reason: Option<&str>,
    job: JobId,
    now: DateTime<Utc>,
) -> Result<()> {
    for movement in movements {
        sqlx::query(
            "INSERT INTO movements (sku, kind, order_id, on_hand, reserved, reason, job, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(&movement.sku)
        .bind(movement.kind)
        .bind(movement.order.as_deref())
        .bind(movement.on_hand)
        .bind(movement.reserved)
        .bind(reason)
        .bind(job.uuid())
        .bind(now.timestamp_micros())
        .execute(&mut *db)
        .await?;
        sqlx::query(
            "UPDATE stock SET on_hand = on_hand + ?2, reserved = reserved + ?3 WHERE sku = ?1",
        )
        .bind(&movement.sku)
        .bind(movement.on_hand)
        .bind(movement.reserved)
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}
