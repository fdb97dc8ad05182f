use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Fault;
use super::observe;
use super::transaction::{COLD, HOT, transact, unsigned};
use super::{PostgresStore, audit, claim, outbox};
use crate::job::{JobId, ProcessId, QueueName};
use crate::store::{
    Control, Deed, Depth, HandedBack, Pause, Place, Report, Reported, RunningJob, StoreResult,
};

#[async_trait]
impl Control for PostgresStore {
    async fn pause(&self, queue: &QueueName, by: &str) -> StoreResult<bool> {
        transact!(self.pool, HOT, |tx| pause(&mut tx, queue, by))
    }

    async fn resume(&self, queue: &QueueName, by: &str) -> StoreResult<bool> {
        transact!(self.pool, HOT, |tx| resume(&mut tx, queue, by))
    }

    async fn paused(&self) -> StoreResult<Vec<Pause>> {
        transact!(self.pool, HOT, |tx| paused(&mut tx))
    }

    async fn hand_back(&self, dispatches: &[(JobId, i32)]) -> StoreResult<Vec<HandedBack>> {
        if dispatches.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self.pool, HOT, |tx| hand_back(&mut tx, dispatches))
    }

    async fn report(&self, process: ProcessId, reports: &[Report]) -> StoreResult<()> {
        if reports.is_empty() {
            return Ok(());
        }
        transact!(self.reads, COLD, |tx| observe::report(
            &mut tx, process, reports
        ))
    }

    async fn reports(&self) -> StoreResult<Vec<Reported>> {
        transact!(self.reads, COLD, |tx| observe::reports(&mut tx))
    }

    async fn depths(&self) -> StoreResult<Vec<Depth>> {
        transact!(self.reads, COLD, |tx| observe::depths(&mut tx))
    }

    async fn running(&self, limit: u32) -> StoreResult<Vec<RunningJob>> {
        transact!(self.reads, COLD, |tx| observe::running(&mut tx, limit))
    }

    async fn silence(&self, id: JobId) -> StoreResult<Option<Duration>> {
        transact!(self.reads, COLD, |tx| observe::silence(&mut tx, id))
    }

    async fn place(&self, id: JobId, cap: u32) -> StoreResult<Option<Place>> {
        transact!(self.reads, COLD, |tx| observe::place(&mut tx, id, cap))
    }
}

async fn pause(tx: &mut PgConnection, queue: &QueueName, by: &str) -> Result<bool, Fault> {
    let paused = sqlx::query(
        "INSERT INTO longshore.pause (queue, since, by) VALUES ($1, now(), $2)
         ON CONFLICT (queue) DO NOTHING",
    )
    .bind(queue.as_str())
    .bind(by)
    .execute(&mut *tx)
    .await?;
    let changed = paused.rows_affected() > 0;
    if changed {
        audit::note(tx, by, Deed::PauseQueue, queue.as_str(), &json!({})).await?;
    }
    Ok(changed)
}

async fn resume(tx: &mut PgConnection, queue: &QueueName, by: &str) -> Result<bool, Fault> {
    let resumed = sqlx::query("DELETE FROM longshore.pause WHERE queue = $1")
        .bind(queue.as_str())
        .execute(&mut *tx)
        .await?;
    let changed = resumed.rows_affected() > 0;
    if changed {
        audit::note(tx, by, Deed::ResumeQueue, queue.as_str(), &json!({})).await?;
    }
    Ok(changed)
}

async fn paused(tx: &mut PgConnection) -> Result<Vec<Pause>, Fault> {
    let rows: Vec<(String, DateTime<Utc>, String)> =
        sqlx::query_as("SELECT queue, since, by FROM longshore.pause ORDER BY queue")
            .fetch_all(tx)
            .await?;
    let pause = |(queue, since, by)| Pause { queue, since, by };
    Ok(rows.into_iter().map(pause).collect())
}

async fn hand_back(
    tx: &mut PgConnection,
    dispatches: &[(JobId, i32)],
) -> Result<Vec<HandedBack>, Fault> {
    let (jobs, numbers): (Vec<Uuid>, Vec<i32>) =
        dispatches.iter().map(|(id, n)| (id.uuid(), *n)).unzip();
    let queued: Vec<(Uuid, i32)> = sqlx::query_as(
        "SELECT l.id, l.dispatch FROM unnest($1::uuid[], $2::integer[]) AS d (id, dispatch)
         CROSS JOIN LATERAL (
             SELECT id, dispatch FROM longshore.live
             WHERE id = d.id AND dispatch = d.dispatch AND state = 1 OFFSET 0) l",
    )
    .bind(jobs)
    .bind(numbers)
    .fetch_all(&mut *tx)
    .await?;
    let entered: HashSet<(JobId, i32)> = queued.iter().map(|(id, n)| ((*id).into(), *n)).collect();
    outbox::enter_high(tx, queued).await?;
    let others = dispatches
        .iter()
        .filter(|wanted| !entered.contains(*wanted));
    let standings = claim::standings(tx, others.map(|(id, _)| id.uuid()).collect()).await?;
    let answer = |wanted: &(JobId, i32)| {
        if entered.contains(wanted) {
            HandedBack::Entered
        } else {
            HandedBack::Not(standings.get(&wanted.0).copied())
        }
    };
    Ok(dispatches.iter().map(answer).collect())
}

/// Microseconds as the statements give them.
pub(super) fn micros(micros: i64) -> Duration {
    Duration::from_micros(unsigned(micros))
}
