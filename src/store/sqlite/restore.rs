use sqlx::types::Uuid;

use super::SqliteStore;
use super::insert::count_accepted;
use crate::job::{ProcessId, Publication};

pub(super) async fn restore(
    store: &SqliteStore,
    process: ProcessId,
    lost: &Publication,
) -> sqlx::Result<bool> {
    let (mut tx, now) = store.write().await?;
    let known: Option<Uuid> = sqlx::query_scalar(
        "SELECT id FROM job WHERE id = ?1 UNION ALL SELECT id FROM tombstone WHERE id = ?1",
    )
    .bind(lost.id.uuid())
    .fetch_optional(&mut *tx)
    .await?;
    let written = if known.is_none() {
        count_accepted(&mut tx, process, 1).await?;
        sqlx::query(
            "INSERT INTO job (id, state, dispatch, created_at, queued_at, kind, queue, high,
                              traceparent, payload)
             VALUES (?1, 1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(lost.id.uuid())
        .bind(lost.dispatch)
        .bind(now)
        .bind(lost.kind.as_str())
        .bind(lost.queue.as_str())
        .bind(lost.priority.is_high())
        .bind(lost.traceparent.as_deref())
        .bind(&lost.payload[..])
        .execute(&mut *tx)
        .await?
    } else {
        sqlx::query(
            "UPDATE job SET state = 1, dispatch = ?2, queued_at = ?3, due = NULL
             WHERE id = ?1 AND dispatch < ?2 AND state IN (0, 1, 3)",
        )
        .bind(lost.id.uuid())
        .bind(lost.dispatch)
        .bind(now)
        .execute(&mut *tx)
        .await?
    };
    tx.commit().await?;
    Ok(written.rows_affected() > 0)
}
