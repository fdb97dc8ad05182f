//! What operators do to one job.

use sqlx::{Sqlite, Transaction};

use super::{SqliteStore, audit, outbox, rows};
use crate::job::{Cancelling, JobId, ProcessId, State};
use crate::store::audit::one_job;
use crate::store::{Action, Edit, JobFilter, Operated, OperationId, OperationState};

type Tx = Transaction<'static, Sqlite>;

pub(super) async fn cancel(store: &SqliteStore, id: JobId, by: &str) -> sqlx::Result<Operated> {
    let (mut tx, now) = store.write().await?;
    let Some((stands, _, requested)) = standing(&mut tx, id).await? else {
        return Ok(Operated::Unknown);
    };
    let (change, answer) = match stands.cancelling() {
        Cancelling::AtOnce => (
            "UPDATE job SET state = 6, due = NULL, finished_at = ?2 WHERE id = ?1",
            Operated::Done,
        ),
        Cancelling::ByItsWorker if requested => return Ok(Operated::Requested),
        Cancelling::ByItsWorker => (
            "UPDATE job SET cancel_requested_at = ?2 WHERE id = ?1",
            Operated::Requested,
        ),
        Cancelling::Already => return Ok(Operated::Already),
        Cancelling::TooLate => return Ok(Operated::Refused(stands)),
    };
    sqlx::query(change)
        .bind(id.uuid())
        .bind(now)
        .execute(&mut *tx)
        .await?;
    note(&mut tx, Action::Cancel, id, by, now, false).await?;
    tx.commit().await?;
    Ok(answer)
}

/// State, dispatch, and whether its cancellation is requested.
async fn standing(tx: &mut Tx, id: JobId) -> sqlx::Result<Option<(State, i32, bool)>> {
    let row: Option<(i16, i32, bool)> = sqlx::query_as(
        "SELECT state, dispatch, cancel_requested_at IS NOT NULL FROM job WHERE id = ?1",
    )
    .bind(id.uuid())
    .fetch_optional(&mut **tx)
    .await?;
    row.map(|(code, dispatch, requested)| Ok((rows::state(code)?, dispatch, requested)))
        .transpose()
}

pub(super) async fn cancel_requests(
    store: &SqliteStore,
    process: ProcessId,
) -> sqlx::Result<Vec<(JobId, i32)>> {
    let found: Vec<(sqlx::types::Uuid, i32)> = sqlx::query_as(
        "SELECT id, epoch FROM job
         WHERE owner = ?1 AND state = 2 AND cancel_requested_at IS NOT NULL ORDER BY id",
    )
    .bind(process.0)
    .fetch_all(&store.readers)
    .await?;
    Ok(found
        .into_iter()
        .map(|(id, epoch)| (id.into(), epoch))
        .collect())
}

pub(super) async fn requeue(
    store: &SqliteStore,
    id: JobId,
    edit: Option<&Edit>,
    by: &str,
) -> sqlx::Result<Operated> {
    let (mut tx, now) = store.write().await?;
    let Some((stands, dispatch, _)) = standing(&mut tx, id).await? else {
        return Ok(Operated::Unknown);
    };
    if !stands.is_requeueable() {
        return Ok(Operated::Refused(stands));
    }
    if let Some(edit) = edit {
        sqlx::query(
            "UPDATE job SET original_payload = coalesce(original_payload, payload),
                            payload = ?2, edited_at = ?3, edited_by = ?4
             WHERE id = ?1",
        )
        .bind(id.uuid())
        .bind(&edit.payload)
        .bind(now)
        .bind(by)
        .execute(&mut *tx)
        .await?;
    }
    send_back(&mut tx, now, &[id]).await?;
    let back = [(id, dispatch + 1)];
    outbox::enter(&mut tx, now, std::time::Duration::ZERO, false, &back).await?;
    note(&mut tx, Action::Requeue, id, by, now, edit.is_some()).await?;
    tx.commit().await?;
    Ok(Operated::Done)
}

/// Moves dead and cancelled jobs to `queued`, as a new dispatch.
pub(super) async fn send_back(tx: &mut Tx, now: i64, ids: &[JobId]) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE job SET state = 1, dispatch = dispatch + 1, failures = 0, crashes = 0,
                        postponed_since = NULL, queued_at = ?2, finished_at = NULL,
                        cancel_requested_at = NULL, fingerprint = NULL
         WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
    )
    .bind(rows::id_batch(ids.iter().copied())?)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Keeps who did it and when, as an operation on one job that is done.
async fn note(
    tx: &mut Tx,
    action: Action,
    id: JobId,
    by: &str,
    now: i64,
    edited: bool,
) -> sqlx::Result<()> {
    let detail = one_job(edited);
    audit::note(tx, now, by, action.into(), &id.to_string(), &detail).await?;
    let filter = JobFilter {
        ids: vec![id],
        ..JobFilter::default()
    };
    let filter = serde_json::to_string(&filter).map_err(|e| sqlx::Error::Encode(e.into()))?;
    sqlx::query(
        "INSERT INTO operation (id, action, state, filter, created_by, created_at, finished_at,
                                matched, done, held_until, next_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, 1, 1, ?6, ?6)",
    )
    .bind(OperationId::new().uuid())
    .bind(action.as_str())
    .bind(OperationState::Done.code())
    .bind(filter)
    .bind(by)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
