use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sqlx::types::Uuid;

use super::error::classify;
use super::{SqliteStore, audit, claim, clock, observe, outbox, rows};
use crate::job::{JobId, ProcessId, QueueName};
use crate::store::{
    Control, Deed, Depth, HandedBack, Pause, Place, Report, Reported, RunningJob, StoreResult,
};

#[async_trait]
impl Control for SqliteStore {
    async fn pause(&self, queue: &QueueName, by: &str) -> StoreResult<bool> {
        pause(self, queue, by).await.map_err(classify)
    }

    async fn resume(&self, queue: &QueueName, by: &str) -> StoreResult<bool> {
        resume(self, queue, by).await.map_err(classify)
    }

    async fn paused(&self) -> StoreResult<Vec<Pause>> {
        paused(self).await.map_err(classify)
    }

    async fn hand_back(&self, dispatches: &[(JobId, i32)]) -> StoreResult<Vec<HandedBack>> {
        if dispatches.is_empty() {
            return Ok(Vec::new());
        }
        hand_back(self, dispatches).await.map_err(classify)
    }

    async fn report(&self, process: ProcessId, reports: &[Report]) -> StoreResult<()> {
        if reports.is_empty() {
            return Ok(());
        }
        observe::report(self, process, reports)
            .await
            .map_err(classify)
    }

    async fn reports(&self) -> StoreResult<Vec<Reported>> {
        observe::reports(self).await.map_err(classify)
    }

    async fn depths(&self) -> StoreResult<Vec<Depth>> {
        observe::depths(self).await.map_err(classify)
    }

    async fn running(&self, limit: u32) -> StoreResult<Vec<RunningJob>> {
        observe::running(self, limit).await.map_err(classify)
    }

    async fn silence(&self, id: JobId) -> StoreResult<Option<Duration>> {
        observe::silence(self, id).await.map_err(classify)
    }

    async fn place(&self, id: JobId, cap: u32) -> StoreResult<Option<Place>> {
        observe::place(self, id, cap).await.map_err(classify)
    }
}

async fn pause(store: &SqliteStore, queue: &QueueName, by: &str) -> sqlx::Result<bool> {
    let (mut tx, now) = store.write().await?;
    let paused = sqlx::query(
        "INSERT INTO pause (queue, since, by) VALUES (?1, ?2, ?3) ON CONFLICT (queue) DO NOTHING",
    )
    .bind(queue.as_str())
    .bind(now)
    .bind(by)
    .execute(&mut *tx)
    .await?;
    let changed = paused.rows_affected() > 0;
    if changed {
        audit::note(
            &mut tx,
            now,
            by,
            Deed::PauseQueue,
            queue.as_str(),
            &json!({}),
        )
        .await?;
    }
    tx.commit().await?;
    Ok(changed)
}

async fn resume(store: &SqliteStore, queue: &QueueName, by: &str) -> sqlx::Result<bool> {
    let (mut tx, now) = store.write().await?;
    let resumed = sqlx::query("DELETE FROM pause WHERE queue = ?1")
        .bind(queue.as_str())
        .execute(&mut *tx)
        .await?;
    let changed = resumed.rows_affected() > 0;
    if changed {
        audit::note(
            &mut tx,
            now,
            by,
            Deed::ResumeQueue,
            queue.as_str(),
            &json!({}),
        )
        .await?;
    }
    tx.commit().await?;
    Ok(changed)
}

async fn paused(store: &SqliteStore) -> sqlx::Result<Vec<Pause>> {
    let rows: Vec<(String, i64, String)> =
        sqlx::query_as("SELECT queue, since, by FROM pause ORDER BY queue")
            .fetch_all(&store.readers)
            .await?;
    let pause = |(queue, since, by)| {
        let since = clock::moment(since)?;
        Ok(Pause { queue, since, by })
    };
    rows.into_iter().map(pause).collect()
}

async fn hand_back(
    store: &SqliteStore,
    dispatches: &[(JobId, i32)],
) -> sqlx::Result<Vec<HandedBack>> {
    let wanted: Vec<(String, i32)> = dispatches
        .iter()
        .map(|(id, n)| (rows::hex(*id), *n))
        .collect();
    let (mut tx, now) = store.write().await?;
    let queued: Vec<(Uuid, i32)> = sqlx::query_as(
        "SELECT job.id, job.dispatch FROM json_each(?1) AS r CROSS JOIN job
         WHERE job.id = unhex(r.value ->> 0) AND +job.dispatch = r.value ->> 1 AND +job.state = 1",
    )
    .bind(rows::batch(&wanted)?)
    .fetch_all(&mut *tx)
    .await?;
    let queued: Vec<(JobId, i32)> = queued.into_iter().map(|(id, n)| (id.into(), n)).collect();
    if !queued.is_empty() {
        outbox::enter(&mut tx, now, Duration::ZERO, true, &queued).await?;
    }
    let entered: HashSet<(JobId, i32)> = queued.into_iter().collect();
    let others = dispatches
        .iter()
        .filter(|wanted| !entered.contains(*wanted));
    let standings = claim::standings(&mut tx, others.map(|(id, _)| *id)).await?;
    tx.commit().await?;
    let answer = |wanted: &(JobId, i32)| {
        if entered.contains(wanted) {
            HandedBack::Entered
        } else {
            HandedBack::Not(standings.get(&wanted.0).copied())
        }
    };
    Ok(dispatches.iter().map(answer).collect())
}
