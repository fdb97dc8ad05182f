use serde::{Deserialize, Serialize};

use super::Latency;

/// So many in so long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// How many.
    pub jobs: u64,
    /// How long all of them took.
    pub seconds: f64,
    /// How many a second.
    pub per_second: f64,
}

impl Rate {
    pub(super) fn of(jobs: u64, seconds: f64) -> Self {
        let rate = jobs as f64 / seconds.max(1e-6);
        Self {
            jobs,
            seconds: round(seconds, 1000.0),
            per_second: round(rate, 1.0),
        }
    }
}

/// Time on a processor for 1,000 jobs, in milliseconds, which is microseconds a job. What does
/// not run on this machine, or cannot be looked at, is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// The intake's (embedded: the one process's).
    pub intake: Option<f64>,
    /// The worker's.
    pub worker: Option<f64>,
    /// Both.
    pub own: Option<f64>,
    /// The broker's.
    pub broker: Option<f64>,
    /// The database's.
    pub store: Option<f64>,
    /// That of what makes the load: the bench itself.
    pub load: Option<f64>,
}

impl Cpu {
    /// All together, where broker and store are known.
    pub(super) fn all(&self) -> Option<f64> {
        let servers = self.broker? + self.store?;
        Some(round(
            servers + self.own.unwrap_or(0.0) + self.load.unwrap_or(0.0),
            10.0,
        ))
    }
}

/// Resident memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// A worker that has run nothing yet.
    pub worker_idle: Option<u64>,
    /// Its highest, at full speed.
    pub worker_peak: Option<u64>,
    /// The intake's highest.
    pub intake_peak: Option<u64>,
}

/// The servers by themselves: as many jobs of the same size through a quorum queue and through
/// batched SQL of the same shape, both at the same time, by this one process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Until both were through.
    pub both: Rate,
    /// The queue's part of it.
    pub broker: Rate,
    /// The database's part of it.
    pub store: Rate,
    /// Our jobs a second, enqueued and processed at once, as a share of `both`.
    pub share: f64,
    /// Time on a processor for 1,000 jobs, in milliseconds, of everybody: here the bench does
    /// what intake and worker do otherwise.
    pub cpu: Option<f64>,
    /// That as a share of what our jobs took. It moves less than `share` when others use the
    /// machine.
    pub cpu_share: Option<f64>,
}

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `longshore`'s version.
    pub version: String,
    /// Whether this program was built without optimisation, which makes its figures useless.
    pub debug_build: bool,
    /// Processors of this machine.
    pub processors: usize,
    /// What the store is.
    pub store: String,
    /// What the broker is.
    pub broker: String,
    /// The kind that was run.
    pub kind: String,
    /// Bytes of each payload.
    pub payload: usize,
    /// Processes that run the jobs.
    pub workers: usize,
    /// Queues that the jobs are spread over.
    pub queues: usize,
    /// One `POST /v1/jobs` each, over 64 connections, nothing consuming.
    pub enqueue_single: Option<Rate>,
    /// How long each of those calls took.
    pub enqueue_single_latency: Option<Latency>,
    /// `POST /v1/jobs/batch`, 500 each, nothing consuming.
    pub enqueue_batch: Option<Rate>,
    /// What had been enqueued, processed.
    pub drain: Option<Rate>,
    /// Batches enqueued and processed at the same time, from the first request to the last end.
    pub at_once: Option<Rate>,
    /// Jobs a second of the next three, offered whether or not they are kept up with.
    pub offered: f64,
    /// From when a job was due to be submitted until it was accepted.
    pub accepted: Option<Latency>,
    /// … until its handler began.
    pub started: Option<Latency>,
    /// … until its end was committed.
    pub done: Option<Latency>,
    /// While enqueueing and processing at once.
    pub cpu: Cpu,
    /// Write-ahead log of the database a job, in bytes, at once with everything else it did.
    pub wal_per_job: Option<f64>,
    /// Memory of the processes.
    pub memory: Memory,
    /// What the servers can do by themselves.
    pub limit: Option<Limit>,
    /// Every run by itself. The figures above are the medians of theirs, each of its own; the
    /// latencies are those of all their jobs together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Report>,
}

pub(super) fn round(value: f64, to: f64) -> f64 {
    (value * to).round() / to
}
