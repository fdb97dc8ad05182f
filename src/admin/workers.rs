use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::job::ProcessId;
use crate::store::{ProcessRow, Reported, RunningJob, Store, StoreResult};

/// Runs that are listed of one process at most.
const RUNS: u32 = 100;

/// A live process as people and programs see it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WorkerView {
    /// Its number; a process that was declared dead and wakes takes a new one.
    pub id: i64,
    /// `host/pid`.
    pub name: String,
    /// Its machine or container.
    pub host: String,
    /// Its number there.
    pub pid: Option<u32>,
    /// The program's version.
    pub version: String,
    /// `worker`, `intake`, `dev` or `operator`.
    pub role: String,
    /// When it registered.
    pub started_at: DateTime<Utc>,
    /// Seconds since its last heartbeat. It is declared dead by others after 10 s of silence.
    pub beat_age: f64,
    /// The queues that it works.
    pub queues: Vec<String>,
    /// How many jobs it runs at once, in all its queues together.
    pub capacity: u32,
    /// What it runs, the longest first; at most 100.
    pub running: Vec<RunningJob>,
}

/// The processes that are alive.
///
/// # Errors
/// The store's.
pub async fn workers(store: &dyn Store) -> StoreResult<Vec<WorkerView>> {
    let (processes, reports) = (store.processes().await?, store.reports().await?);
    let (running, now) = (store.running(RUNS).await?, store.now().await?);
    let view = |process: ProcessRow| {
        let mine = running.iter().filter(|job| job.process == process.id);
        let running = mine.cloned().collect();
        worker(process, &reports, running, now)
    };
    Ok(processes.into_iter().map(view).collect())
}

fn worker(
    process: ProcessRow,
    reports: &[Reported],
    running: Vec<RunningJob>,
    now: DateTime<Utc>,
) -> WorkerView {
    let age = now.signed_duration_since(process.beat_at).as_seconds_f64();
    let (host, pid) = match process.name.rsplit_once('/') {
        Some((host, pid)) => (host.to_owned(), pid.parse().ok()),
        None => (process.name.clone(), None),
    };
    WorkerView {
        id: process.id.0,
        host,
        pid,
        version: process.version,
        role: process.role,
        started_at: process.started_at,
        beat_age: (age.max(0.0) * 1000.0).round() / 1000.0,
        queues: process.queues,
        capacity: capacity(reports, process.id),
        running,
        name: process.name,
    }
}

fn capacity(reports: &[Reported], process: ProcessId) -> u32 {
    let mine = reports.iter().filter(|told| told.process == process);
    mine.map(|told| told.report.capacity)
        .fold(0, u32::saturating_add)
}
