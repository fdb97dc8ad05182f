use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Fault;
use super::outbox;
use super::transaction::micros;
use crate::job::QueueName;
use crate::store::OutboxEntry;

pub(super) async fn promote_due(
    tx: &mut PgConnection,
    limit: u32,
    lease: Duration,
) -> Result<Option<OutboxEntry>, Fault> {
    let promoted: Vec<(Uuid, i32)> = sqlx::query_as(
        "UPDATE longshore.live
         SET state = 1, dispatch = dispatch + 1, due = NULL, queued_at = now()
         WHERE id = ANY (ARRAY (
             SELECT id FROM longshore.live WHERE due <= now()
             ORDER BY due LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED))
         RETURNING id, dispatch",
    )
    .bind(i64::from(limit))
    .fetch_all(&mut *tx)
    .await?;
    outbox::enter(tx, promoted, lease).await
}

pub(super) async fn republish(
    tx: &mut PgConnection,
    queue: &QueueName,
    older_than: Duration,
    before: Option<DateTime<Utc>>,
    limit: u32,
    lease: Duration,
) -> Result<Option<OutboxEntry>, Fault> {
    let lost: Vec<(Uuid, i32)> = sqlx::query_as(
        "UPDATE longshore.live SET queued_at = now()
         WHERE id = ANY (ARRAY (
             SELECT id FROM longshore.live
             WHERE owner IS NULL AND due IS NULL AND queue = $1
               AND queued_at < LEAST(now() - $2 * interval '1 microsecond', $3)
             ORDER BY queued_at LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED))
         RETURNING id, dispatch",
    )
    .bind(queue.as_str())
    .bind(micros(older_than))
    .bind(before)
    .bind(i64::from(limit))
    .fetch_all(&mut *tx)
    .await?;
    outbox::enter(tx, lost, lease).await
}
