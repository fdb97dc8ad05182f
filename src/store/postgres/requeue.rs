use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, QueryBuilder};
use uuid::Uuid;

use super::error::Fault;
use super::outbox;
use super::read::push_filter;
use super::transaction::micros;
use crate::job::{QueueName, State};
use crate::store::{JobFilter, OutboxEntry};

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

/// The failures so far stay on record: the next attempt's number goes on from theirs.
pub(super) async fn requeue_dead(
    tx: &mut PgConnection,
    filter: &JobFilter,
    limit: u32,
    lease: Duration,
) -> Result<Option<OutboxEntry>, Fault> {
    if !(filter.states.is_empty() || filter.states.contains(&State::Dead)) {
        return Ok(None);
    }
    let mut query = QueryBuilder::new(
        "WITH picked AS MATERIALIZED (
             SELECT x.id FROM longshore.done x WHERE x.state = 5",
    );
    push_filter(&mut query, filter);
    query
        .push(" ORDER BY x.id LIMIT ")
        .push_bind(i64::from(limit));
    query.push(
        " FOR UPDATE OF x SKIP LOCKED),
         back AS (
             DELETE FROM longshore.done WHERE id = ANY (ARRAY (SELECT id FROM picked)) RETURNING *)
         INSERT INTO longshore.live (id, queue, state, dispatch, epoch, recorded, max_attempts,
                                     queued_at, started_at, created_at,
                                     error_code, error_message, error_class)
         SELECT b.id, b.queue, 1, b.dispatch + 1, b.epoch, b.recorded + b.failures, j.max_attempts,
                now(), b.started_at, j.created_at, b.error_code, b.error_message, b.error_class
         FROM back b CROSS JOIN LATERAL (SELECT * FROM longshore.job WHERE id = b.id OFFSET 0) j
         RETURNING id, dispatch",
    );
    let requeued: Vec<(Uuid, i32)> = query.build_query_as().fetch_all(&mut *tx).await?;
    outbox::enter(tx, requeued, lease).await
}
