use sqlx::PgConnection;

use super::error::Fault;
use crate::job::{ProcessId, Publication};

/// Raises the row of a dispatch that the store has not heard of, or inserts it.
///
/// Two processes may hold two copies of the same message: the second one's update waits for the
/// first and then finds the dispatch raised, its insert finds the id taken.
pub(super) async fn restore(
    tx: &mut PgConnection,
    process: ProcessId,
    lost: &Publication,
) -> Result<bool, Fault> {
    let raised = sqlx::query(
        "UPDATE longshore.live
         SET state = 1, dispatch = $2, due = NULL, queued_at = now()
         WHERE id = $1 AND dispatch < $2 AND state IN (0, 1, 3)",
    )
    .bind(lost.id.uuid())
    .bind(lost.dispatch)
    .execute(&mut *tx)
    .await?;
    if raised.rows_affected() == 1 {
        return Ok(true);
    }
    let inserted: Option<i32> = sqlx::query_scalar(
        "WITH new AS (
             INSERT INTO longshore.job
                 (id, kind, queue, payload, high, tags, traceparent, created_at)
             SELECT $1, $2, $3, $4, $5, '{}', $6, now()
             WHERE NOT EXISTS (SELECT FROM longshore.tombstone WHERE id = $1)
             ON CONFLICT (id) DO NOTHING
             RETURNING id, kind, queue),
         entered AS (
             INSERT INTO longshore.live (id, kind, queue, state, dispatch, queued_at, created_at)
             SELECT id, kind, queue, 1, $7, now(), now() FROM new
             RETURNING id)
         INSERT INTO longshore.tally AS t (process, slot, accepted)
         SELECT $8, pg_backend_pid() % 16, 1 FROM entered
         ON CONFLICT (process, slot) DO UPDATE SET accepted = t.accepted + excluded.accepted
         RETURNING 1",
    )
    .bind(lost.id.uuid())
    .bind(lost.kind.as_str())
    .bind(lost.queue.as_str())
    .bind(&lost.payload[..])
    .bind(lost.priority.is_high())
    .bind(&lost.traceparent)
    .bind(lost.dispatch)
    .bind(process.0)
    .fetch_optional(tx)
    .await?;
    Ok(inserted.is_some())
}
