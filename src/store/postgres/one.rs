//! What operators do to one job.

use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Fault;
use super::rows::state;
use super::{audit, outbox};
use crate::job::{Cancelling, JobId, ProcessId};
use crate::store::audit::one_job;
use crate::store::{Action, Edit, JobFilter, Operated, OperationId, OperationState};

/// How often a job is looked for in both tables, between which it may move meanwhile.
const LOOKS: u32 = 3;

/// Cancels a job, or asks its worker to. The row is locked, so a claim or an outcome comes
/// before or after, never between.
pub(super) async fn cancel(tx: &mut PgConnection, id: JobId, by: &str) -> Result<Operated, Fault> {
    for _ in 0..LOOKS {
        let live: Option<(i16, bool)> = sqlx::query_as(
            "SELECT state, cancel_requested_at IS NOT NULL FROM longshore.live
             WHERE id = $1 FOR UPDATE",
        )
        .bind(id.uuid())
        .fetch_optional(&mut *tx)
        .await?;
        let (stands, requested) = match live {
            Some((code, requested)) => (state(code)?, requested),
            None => match ended(tx, id).await? {
                Some(code) => (state(code)?, false),
                None => continue,
            },
        };
        match stands.cancelling() {
            Cancelling::AtOnce => cancel_now(tx, &[id.uuid()]).await?,
            Cancelling::ByItsWorker if requested => return Ok(Operated::Requested),
            Cancelling::ByItsWorker => request(tx, id).await?,
            Cancelling::Already => return Ok(Operated::Already),
            Cancelling::TooLate => return Ok(Operated::Refused(stands)),
        }
        note(tx, Action::Cancel, id, by, false).await?;
        return Ok(match stands.cancelling() {
            Cancelling::ByItsWorker => Operated::Requested,
            _ => Operated::Done,
        });
    }
    Ok(Operated::Unknown)
}

/// The state of a finished job; its row is locked.
async fn ended(tx: &mut PgConnection, id: JobId) -> Result<Option<i16>, Fault> {
    Ok(
        sqlx::query_scalar("SELECT state FROM longshore.done WHERE id = $1 FOR UPDATE")
            .bind(id.uuid())
            .fetch_optional(tx)
            .await?,
    )
}

/// Cancels live jobs whose rows are locked.
pub(super) async fn cancel_now(tx: &mut PgConnection, ids: &[Uuid]) -> Result<(), Fault> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "WITH kept AS (
             INSERT INTO longshore.done (id, kind, queue, state, dispatch, epoch, failures,
                                         recorded, owner, started_at, finished_at,
                                         error_code, error_message, error_class)
             SELECT id, kind, queue, 6, dispatch, epoch, failures, recorded, owner, started_at,
                    now(), error_code, error_message, error_class
             FROM longshore.live WHERE id = ANY ($1))
         DELETE FROM longshore.live WHERE id = ANY ($1)",
    )
    .bind(ids)
    .execute(tx)
    .await?;
    Ok(())
}

async fn request(tx: &mut PgConnection, id: JobId) -> Result<(), Fault> {
    sqlx::query("UPDATE longshore.live SET cancel_requested_at = now() WHERE id = $1")
        .bind(id.uuid())
        .execute(tx)
        .await?;
    Ok(())
}

/// By the index on owners: as many rows as the process runs.
pub(super) async fn cancel_requests(
    tx: &mut PgConnection,
    process: ProcessId,
) -> Result<Vec<(JobId, i32)>, Fault> {
    let rows: Vec<(Uuid, i32)> = sqlx::query_as(
        "SELECT id, epoch FROM longshore.live
         WHERE owner = $1 AND cancel_requested_at IS NOT NULL ORDER BY id",
    )
    .bind(process.0)
    .fetch_all(tx)
    .await?;
    let run = |(id, epoch)| (JobId::from(id), epoch);
    Ok(rows.into_iter().map(run).collect())
}

/// Sends a dead or cancelled job back; its row of `done` is locked, so a pruning, an operation
/// or another requeue has it or leaves it.
pub(super) async fn requeue(
    tx: &mut PgConnection,
    id: JobId,
    edit: Option<&Edit>,
    by: &str,
) -> Result<Operated, Fault> {
    let mut stands = None;
    for _ in 0..LOOKS {
        if let Some(code) = ended(tx, id).await? {
            stands = Some(state(code)?);
            break;
        }
        let live = "SELECT state FROM longshore.live WHERE id = $1";
        let live: Option<i16> = sqlx::query_scalar(live)
            .bind(id.uuid())
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(code) = live {
            return Ok(Operated::Refused(state(code)?));
        }
    }
    let Some(stands) = stands else {
        return Ok(Operated::Unknown);
    };
    if !stands.is_requeueable() {
        return Ok(Operated::Refused(stands));
    }
    if let Some(edit) = edit {
        sqlx::query(
            "UPDATE longshore.job
             SET original_payload = COALESCE(original_payload, payload), payload = $2,
                 edited_at = now(), edited_by = $3
             WHERE id = $1",
        )
        .bind(id.uuid())
        .bind(&edit.payload)
        .bind(by)
        .execute(&mut *tx)
        .await?;
    }
    let back = send_back(tx, &[id.uuid()]).await?;
    if back.is_empty() {
        return Ok(Operated::Unknown);
    }
    outbox::box_up(tx, back, std::time::Duration::ZERO).await?;
    note(tx, Action::Requeue, id, by, edit.is_some()).await?;
    Ok(Operated::Done)
}

/// Moves jobs whose rows of `done` are locked to `queued`, as a new dispatch. The failures so
/// far stay on record: the next attempt's number goes on from theirs. A job without its row of
/// `job` stays where it is: there is nothing to run, and it must not vanish.
pub(super) async fn send_back(
    tx: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<(Uuid, i32)>, Fault> {
    Ok(sqlx::query_as(
        "WITH back AS (
             DELETE FROM longshore.done d WHERE d.id = ANY ($1)
               AND EXISTS (SELECT FROM longshore.job WHERE id = d.id)
             RETURNING d.*)
         INSERT INTO longshore.live (id, kind, queue, state, dispatch, epoch, recorded,
                                     max_attempts, queued_at, started_at, created_at,
                                     error_code, error_message, error_class)
         SELECT b.id, b.kind, b.queue, 1, b.dispatch + 1, b.epoch, b.recorded + b.failures,
                j.max_attempts, now(), b.started_at, j.created_at,
                b.error_code, b.error_message, b.error_class
         FROM back b CROSS JOIN LATERAL (SELECT * FROM longshore.job WHERE id = b.id OFFSET 0) j
         RETURNING id, dispatch",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?)
}

/// Keeps who did it and when, as an operation on one job that is done.
async fn note(
    tx: &mut PgConnection,
    action: Action,
    id: JobId,
    by: &str,
    edited: bool,
) -> Result<(), Fault> {
    let detail = one_job(edited);
    audit::note(tx, by, action.into(), &id.to_string(), &detail).await?;
    let filter = JobFilter {
        ids: vec![id],
        ..JobFilter::default()
    };
    let filter = serde_json::to_string(&filter).map_err(Fault::corrupt)?;
    sqlx::query(
        "INSERT INTO longshore.operation (id, action, state, filter, created_by, created_at,
                                          finished_at, matched, done, held_until, next_at)
         VALUES ($1, $2, $3, $4, $5, now(), now(), 1, 1, now(), now())",
    )
    .bind(OperationId::new().uuid())
    .bind(action.as_str())
    .bind(OperationState::Done.code())
    .bind(filter)
    .bind(by)
    .execute(tx)
    .await?;
    Ok(())
}
