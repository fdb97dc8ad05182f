//! What operators see of queues and workers, and how they stop a queue.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Counts, StoreResult};
use crate::job::{ErrorClass, JobError, JobId, Kind, ProcessId, QueueName, Standing};

/// A queue whose jobs are not to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Pause {
    /// Which.
    #[serde(skip)]
    pub queue: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// The API key's name, or the operator's command.
    pub by: String,
}

/// What a process tells of its part in a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Which.
    pub queue: QueueName,
    /// The kinds that it can run; none where it only accepts jobs.
    pub kinds: Vec<Kind>,
    /// How many it runs at once; 0 where it only accepts jobs.
    pub capacity: u32,
    /// Its breaker's state: `closed` when jobs flow, `open` or `half_open`.
    pub breaker: String,
    /// What the last job said that found it down, unless it is `closed`.
    pub breaker_error: Option<JobError>,
    /// Jobs accepted a second, of late.
    pub accepted: f64,
    /// Jobs brought to an end a second, of late.
    pub finished: f64,
}

/// A [`Report::breaker_error`] from its columns.
pub(super) fn breaker_error(code: Option<String>, message: Option<String>) -> Option<JobError> {
    Some(JobError {
        code: code?,
        message: message?,
        class: ErrorClass::Unavailable,
    })
}

/// A report and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Reported {
    /// A process that is alive.
    pub process: ProcessId,
    /// What it told last.
    pub report: Report,
}

/// What a queue holds that has not come to a good end.
#[derive(Debug, Clone)]
pub struct Depth {
    /// Unfinished jobs by state, and the dead.
    pub counts: Counts,
    /// Since when the oldest of those that are `queued` waits: for how long nothing has taken
    /// what was last handed to the broker.
    pub oldest_ready: Option<Duration>,
}

/// A run that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunningJob {
    /// Whose.
    #[serde(skip)]
    pub process: ProcessId,
    /// The job.
    pub id: JobId,
    /// What it does.
    pub kind: Kind,
    /// Where it waited.
    pub queue: QueueName,
    /// Since when it runs.
    pub since: DateTime<Utc>,
}

/// Where a `queued` job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// `queued` jobs that were sent before it, of its lane or a faster one, counted up to the
    /// cap that was asked for.
    pub behind: u64,
    /// Whether there may be more than were counted.
    pub or_more: bool,
    /// For how long it has been in the outbox, if it is there: the broker has not confirmed it.
    pub unpublished: Option<Duration>,
}

/// What became of a dispatch that was to be handed back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandedBack {
    /// It was `queued`, and is in the outbox now.
    Entered,
    /// It was not; the row as it stands, `None` if there is none. Only this delivery may know of
    /// the dispatch: see [`crate::job::dispose`].
    Not(Option<Standing>),
}

/// What operators ask of the store.
///
/// # Errors
/// As [`Store`](super::Store) says of all its methods.
#[async_trait]
pub trait Control {
    /// Pauses a queue, known or not; `false` if it is paused already, by whoever was first.
    async fn pause(&self, queue: &QueueName, by: &str) -> StoreResult<bool>;

    /// Ends a pause; `false` if there is none.
    async fn resume(&self, queue: &QueueName, by: &str) -> StoreResult<bool>;

    /// The queues that are paused, by name.
    async fn paused(&self) -> StoreResult<Vec<Pause>>;

    /// Enters those dispatches that are still `queued` in the outbox, at high priority, due at
    /// once: they were delivered, and the caller acknowledges them without having claimed them.
    /// Nothing is counted. Answers in the order of the dispatches.
    async fn hand_back(&self, dispatches: &[(JobId, i32)]) -> StoreResult<Vec<HandedBack>>;

    /// Replaces what a process told of these queues. The first report of a process also removes
    /// what the dead have told.
    async fn report(&self, process: ProcessId, reports: &[Report]) -> StoreResult<()>;

    /// What the processes that are alive told last.
    async fn reports(&self) -> StoreResult<Vec<Reported>>;

    /// The depth of every queue that holds anything.
    async fn depths(&self) -> StoreResult<Vec<Depth>>;

    /// What runs, the longest running first: at most `limit` of each process.
    async fn running(&self, limit: u32) -> StoreResult<Vec<RunningJob>>;

    /// For how long the owner of a job has not beaten, if the job is `running`. For people only:
    /// liveness is judged by the counter.
    async fn silence(&self, id: JobId) -> StoreResult<Option<Duration>>;

    /// Where a job stands, if it is `queued`. Looks at up to `cap` jobs of its queue, the last
    /// ones that were sent before it, of whatever lane.
    async fn place(&self, id: JobId, cap: u32) -> StoreResult<Option<Place>>;
}
