use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Fault;
use super::one;
use super::transaction::unsigned;
use crate::job::{JobId, ProcessId};
use crate::store::{Beat, NewProcess, ProcessBeat, ProcessRow};

const ALIVE: i16 = 0;
const DEAD: i16 = 1;
const ENDED: i16 = 2;

pub(super) async fn register(
    tx: &mut PgConnection,
    process: &NewProcess,
) -> Result<ProcessId, Fault> {
    let queues: Vec<&str> = process.queues.iter().map(|queue| queue.as_str()).collect();
    let id = sqlx::query_scalar(
        "INSERT INTO longshore.process (role, name, version, queues, started_at, beat_at)
         VALUES ($1, $2, $3, $4, now(), now()) RETURNING id",
    )
    .bind(process.role.as_str())
    .bind(&process.name)
    .bind(&process.version)
    .bind(queues)
    .fetch_one(tx)
    .await?;
    Ok(ProcessId(id))
}

/// Touches no key column, so it waits for no claim (they hold `FOR KEY SHARE`), only for a
/// burial, and then finds itself dead.
pub(super) async fn beat(tx: &mut PgConnection, process: ProcessId) -> Result<Beat, Fault> {
    let raised = sqlx::query(
        "UPDATE longshore.process SET beat = beat + 1, beat_at = now()
         WHERE id = $1 AND state = 0",
    )
    .bind(process.0)
    .execute(tx)
    .await?;
    Ok(if raised.rows_affected() == 1 {
        Beat::Counted
    } else {
        Beat::Dead
    })
}

pub(super) async fn beats(tx: &mut PgConnection) -> Result<Vec<ProcessBeat>, Fault> {
    let rows: Vec<(i64, i64)> =
        sqlx::query_as("SELECT id, beat FROM longshore.process WHERE state = 0 ORDER BY id")
            .fetch_all(tx)
            .await?;
    let beat = |(id, counter)| ProcessBeat {
        process: ProcessId(id),
        counter,
    };
    Ok(rows.into_iter().map(beat).collect())
}

pub(super) async fn alive(tx: &mut PgConnection) -> Result<Vec<ProcessRow>, Fault> {
    #[derive(sqlx::FromRow)]
    struct Row {
        id: i64,
        role: String,
        name: String,
        version: String,
        queues: Vec<String>,
        started_at: chrono::DateTime<chrono::Utc>,
        beat_at: chrono::DateTime<chrono::Utc>,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, role, name, version, queues, started_at, beat_at
         FROM longshore.process WHERE state = 0 ORDER BY id",
    )
    .fetch_all(tx)
    .await?;
    let process = |row: Row| ProcessRow {
        id: ProcessId(row.id),
        role: row.role,
        name: row.name,
        version: row.version,
        queues: row.queues,
        started_at: row.started_at,
        beat_at: row.beat_at,
    };
    Ok(rows.into_iter().map(process).collect())
}

/// Takes the process's row for good: waits for the claims that are under way (each holds it
/// `FOR KEY SHARE` until it commits), and no later one finds it alive. Returns the state and
/// counter it had. What follows must be another statement, whose snapshot sees those claims.
async fn lock(tx: &mut PgConnection, process: ProcessId) -> Result<Option<(i16, i64)>, Fault> {
    Ok(
        sqlx::query_as("SELECT state, beat FROM longshore.process WHERE id = $1 FOR UPDATE")
            .bind(process.0)
            .fetch_optional(tx)
            .await?,
    )
}

pub(super) async fn bury(
    tx: &mut PgConnection,
    process: ProcessId,
    counter: i64,
) -> Result<Option<u64>, Fault> {
    if lock(tx, process).await? != Some((ALIVE, counter)) {
        return Ok(None);
    }
    end(tx, process, DEAD).await?;
    release(tx, process, 1).await.map(Some)
}

pub(super) async fn retire(tx: &mut PgConnection, process: ProcessId) -> Result<u64, Fault> {
    match lock(tx, process).await? {
        Some((ALIVE, _)) => {
            end(tx, process, ENDED).await?;
            release(tx, process, 0).await
        }
        _ => Ok(0),
    }
}

async fn end(tx: &mut PgConnection, process: ProcessId, state: i16) -> Result<(), Fault> {
    sqlx::query("UPDATE longshore.process SET state = $2, ended_at = now() WHERE id = $1")
        .bind(process.0)
        .bind(state)
        .execute(tx)
        .await?;
    Ok(())
}

/// Puts everything a process runs back to `queued` under the same dispatch, into the outbox at
/// high priority, due at once; but for what it was asked to cancel, which is cancelled now.
async fn release(tx: &mut PgConnection, process: ProcessId, crashes: i32) -> Result<u64, Fault> {
    let cancelled: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM longshore.live WHERE owner = $1 AND cancel_requested_at IS NOT NULL
         ORDER BY id FOR UPDATE",
    )
    .bind(process.0)
    .fetch_all(&mut *tx)
    .await?;
    one::cancel_now(tx, &cancelled).await?;
    let released: Option<i64> = sqlx::query_scalar(
        "WITH back AS (
             UPDATE longshore.live
             SET state = 1, owner = NULL, queued_at = now(), crashes = crashes + $2
             WHERE id = ANY (ARRAY (
                 SELECT id FROM longshore.live WHERE owner = $1 ORDER BY id FOR NO KEY UPDATE))
             RETURNING id, dispatch)
         INSERT INTO longshore.outbox (available_at, created_at, high, jobs, dispatches)
         SELECT now(), now(), true, array_agg(id ORDER BY id), array_agg(dispatch ORDER BY id)
         FROM back HAVING count(*) > 0
         RETURNING cardinality(jobs)::bigint",
    )
    .bind(process.0)
    .bind(crashes)
    .fetch_optional(tx)
    .await?;
    Ok(unsigned(released.unwrap_or_default()))
}

pub(super) async fn owned(
    tx: &mut PgConnection,
    process: ProcessId,
) -> Result<Vec<(JobId, i32)>, Fault> {
    let rows: Vec<(Uuid, i32)> =
        sqlx::query_as("SELECT id, epoch FROM longshore.live WHERE owner = $1 ORDER BY id")
            .bind(process.0)
            .fetch_all(tx)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(id, epoch)| (JobId::from(id), epoch))
        .collect())
}
