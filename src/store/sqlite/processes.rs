use std::time::Duration;

use sqlx::types::{Json, Uuid};
use sqlx::{Sqlite, Transaction};

use super::{SqliteStore, clock, outbox};
use crate::job::{JobId, ProcessId};
use crate::store::{Beat, NewProcess, ProcessBeat, ProcessRow};

pub(super) async fn register(store: &SqliteStore, process: &NewProcess) -> sqlx::Result<ProcessId> {
    let (mut tx, now) = store.write().await?;
    let queues: Vec<&str> = process.queues.iter().map(AsRef::as_ref).collect();
    let inserted = sqlx::query(
        "INSERT INTO process (role, name, version, queues, started_at, beat_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
    )
    .bind(process.role.as_str())
    .bind(&process.name)
    .bind(&process.version)
    .bind(Json(queues))
    .bind(now)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(ProcessId(inserted.last_insert_rowid()))
}

pub(super) async fn beat(store: &SqliteStore, process: ProcessId) -> sqlx::Result<Beat> {
    let (mut tx, now) = store.write().await?;
    let raised = sqlx::query(
        "UPDATE process SET counter = counter + 1, beat_at = ?2 WHERE id = ?1 AND alive",
    )
    .bind(process.0)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(match raised.rows_affected() {
        0 => Beat::Dead,
        _ => Beat::Counted,
    })
}

pub(super) async fn beats(store: &SqliteStore) -> sqlx::Result<Vec<ProcessBeat>> {
    let rows: Vec<(i64, i64)> = sqlx::query_as("SELECT id, counter FROM process WHERE alive")
        .fetch_all(&store.readers)
        .await?;
    let beat = |(id, counter)| ProcessBeat {
        process: ProcessId(id),
        counter,
    };
    Ok(rows.into_iter().map(beat).collect())
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    role: String,
    name: String,
    version: String,
    queues: Json<Vec<String>>,
    started_at: i64,
    beat_at: i64,
}

pub(super) async fn processes(store: &SqliteStore) -> sqlx::Result<Vec<ProcessRow>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, role, name, version, queues, started_at, beat_at
         FROM process WHERE alive ORDER BY id",
    )
    .fetch_all(&store.readers)
    .await?;
    let read = |row: Row| {
        Ok(ProcessRow {
            id: ProcessId(row.id),
            role: row.role,
            name: row.name,
            version: row.version,
            queues: row.queues.0,
            started_at: clock::moment(row.started_at)?,
            beat_at: clock::moment(row.beat_at)?,
        })
    };
    rows.into_iter().map(read).collect()
}

pub(super) async fn bury(
    store: &SqliteStore,
    process: ProcessId,
    counter: i64,
) -> sqlx::Result<Option<u64>> {
    let (mut tx, now) = store.write().await?;
    let died = sqlx::query("UPDATE process SET alive = 0 WHERE id = ?1 AND alive AND counter = ?2")
        .bind(process.0)
        .bind(counter)
        .execute(&mut *tx)
        .await?;
    if died.rows_affected() == 0 {
        return Ok(None);
    }
    let rescued = free(&mut tx, now, process, true).await?;
    tx.commit().await?;
    Ok(Some(rescued))
}

pub(super) async fn retire(store: &SqliteStore, process: ProcessId) -> sqlx::Result<u64> {
    let (mut tx, now) = store.write().await?;
    sqlx::query("UPDATE process SET alive = 0 WHERE id = ?1")
        .bind(process.0)
        .execute(&mut *tx)
        .await?;
    let handed_back = free(&mut tx, now, process, false).await?;
    tx.commit().await?;
    Ok(handed_back)
}

/// Puts what a process was running back to `queued`, but for what it was asked to cancel, which
/// is cancelled now. No claim can slip in behind: claiming
/// takes the same write lock and then finds the process dead.
async fn free(
    tx: &mut Transaction<'static, Sqlite>,
    now: i64,
    process: ProcessId,
    crashed: bool,
) -> sqlx::Result<u64> {
    sqlx::query(
        "UPDATE job SET state = 6, finished_at = ?2
         WHERE owner = ?1 AND state = 2 AND cancel_requested_at IS NOT NULL",
    )
    .bind(process.0)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    let freed: Vec<(Uuid, i32)> = sqlx::query_as(
        "UPDATE job SET state = 1, crashes = crashes + ?2, queued_at = ?3
         WHERE owner = ?1 AND state = 2 RETURNING id, dispatch",
    )
    .bind(process.0)
    .bind(crashed)
    .bind(now)
    .fetch_all(&mut **tx)
    .await?;
    let mut freed: Vec<(JobId, i32)> = freed.into_iter().map(|(id, d)| (id.into(), d)).collect();
    freed.sort();
    if !freed.is_empty() {
        outbox::enter(tx, now, Duration::ZERO, true, &freed).await?;
    }
    Ok(freed.len() as u64)
}

pub(super) async fn owned(
    store: &SqliteStore,
    process: ProcessId,
) -> sqlx::Result<Vec<(JobId, i32)>> {
    let rows: Vec<(Uuid, i32)> =
        sqlx::query_as("SELECT id, epoch FROM job WHERE owner = ?1 AND state = 2 ORDER BY id")
            .bind(process.0)
            .fetch_all(&store.readers)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(id, epoch)| (id.into(), epoch))
        .collect())
}
