use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Door;
use super::progress::ProgressBoard;
use super::transaction::{Ending, Transaction};
use crate::config::{Queues, SettingError, WorkerSettings};
use crate::job::{Failure, JobId, JobResult, RunProgress};
use crate::store::{Fence, Store};

/// A kind of job: its payload's type, and the function that runs it.
///
/// The type is the contract with whoever submits: the intake checks payloads against it, and
/// its schema is published. Fields should refuse what they do not know
/// (`#[serde(deny_unknown_fields)]`).
pub trait Job: Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    /// `domain.verb`, for ever: jobs already accepted carry it.
    const KIND: &'static str;

    /// What the job works with: connections, clients, configuration. One for the process.
    type Context: Send + Sync + 'static;

    /// Checks what the type alone cannot say. Runs at the door, before the job is accepted, and
    /// again before it runs.
    ///
    /// # Errors
    /// Every field that is wrong, with its JSON pointer.
    fn validate(&self) -> Result<(), Vec<Invalid>> {
        Ok(())
    }

    /// What the doors check besides [`Job::validate`], for a check that takes more than the
    /// payload: files that the settings name, say. Made once, when a process starts that accepts
    /// jobs or works this kind; it may ask only for settings that the check itself needs, since
    /// an intake has no others. What is found wrong when the job runs, the run itself must say:
    /// things may have changed since, and not every door checks.
    ///
    /// # Errors
    /// Every setting that is missing or wrong.
    fn door(_: &WorkerSettings) -> Result<Door<Self>, Vec<SettingError>> {
        Ok(Door::open())
    }

    /// A payload that shows what there is, for whoever reads about the kind. It must be valid.
    #[must_use]
    fn example() -> Option<Self> {
        None
    }

    /// Does the work. May run more than once for one job: only an effect that is fenced or
    /// idempotent happens once. It is dropped at an await point when the queue's timeout is
    /// over, when the process must stop or has lost the job, or when the job is cancelled.
    fn run(
        self,
        context: &Self::Context,
        attempt: &Attempt,
    ) -> impl Future<Output = JobResult> + Send;
}

/// A field of a payload that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invalid {
    /// Where: a JSON pointer (RFC 6901) into the payload.
    pub pointer: String,
    /// What is wrong with it, and what was expected.
    pub message: String,
}

impl Invalid {
    /// A wrong field.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pointer, self.message)
    }
}

/// The run that a handler is in: which one it is, how long it may take, and what it can say before
/// its end. How it ends is the handler's result: [`Done`](struct@crate::job::Done), or a [`Failure`] that
/// says what should happen next.
///
/// ```
/// use std::time::Duration;
///
/// use longshore::job::{Done, Failure, JobResult};
/// use longshore::worker::Attempt;
///
/// # struct Page;
/// # async fn fetch(_: u32, _: Duration) -> Result<Option<Page>, std::io::Error> { Ok(None) }
/// async fn copy(pages: u32, attempt: &Attempt) -> JobResult {
///     for n in 0..pages {
///         if attempt.cancelled().is_cancelled() {
///             // Nobody wants the rest; what is returned now does not count as a failure.
///             return Err(Failure::retry("stopped", "stopped between two pages"));
///         }
///         attempt.progress(f64::from(n) / f64::from(pages), format!("page {n} of {pages}"));
///         let left = attempt.deadline().saturating_duration_since(tokio::time::Instant::now());
///         let page = fetch(n, left.min(Duration::from_secs(10))).await;
///         // Nothing is counted, and the queue is left alone while the other side is down.
///         let page = page.map_err(|error| Failure::unavailable("source_down", error))?;
///         if page.is_none() {
///             // Dead at once, with a code to find it by.
///             return Err(Failure::permanent("no_such_page", format!("page {n} is gone")));
///         }
///     }
///     Ok(Done)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Attempt {
    pub(super) job_id: JobId,
    pub(super) dispatch: i32,
    pub(super) number: u32,
    pub(super) earlier_failures: u32,
    pub(super) max_attempts: u32,
    pub(super) created_at: DateTime<Utc>,
    pub(super) cancelled: CancellationToken,
    pub(super) deadline: Instant,
    pub(super) board: Arc<ProgressBoard>,
    pub(super) ending: Ending,
}

impl Attempt {
    /// A run outside of a worker, with an hour's time.
    pub(crate) fn of_test(
        store: Arc<dyn Store>,
        queues: Arc<Queues>,
        fence: Fence,
        created_at: DateTime<Utc>,
        numbers: (u32, u32),
    ) -> Self {
        const AN_HOUR: Duration = Duration::from_secs(3600);
        let (number, max_attempts) = numbers;
        Self {
            job_id: fence.id,
            dispatch: 1,
            number,
            max_attempts,
            earlier_failures: 0,
            created_at,
            cancelled: CancellationToken::new(),
            deadline: Instant::now() + AN_HOUR,
            board: Arc::default(),
            ending: Ending {
                store,
                queues,
                fence,
                commit: Arc::default(),
            },
        }
    }

    /// The job. The same at every attempt, so it serves as an idempotency key.
    #[must_use]
    pub const fn job_id(&self) -> JobId {
        self.job_id
    }

    /// Raised each time the job is sent on its way: at first, after a retry or a wait, when it is
    /// sent back from the dead letters. Runs that follow a crash or a hand-back have the same.
    #[must_use]
    pub const fn dispatch(&self) -> i32 {
        self.dispatch
    }

    /// The number of this run, 1-based; runs that did not count are not numbered.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// The number of the last run there may be.
    #[must_use]
    pub const fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// Counted failures from before the job was last sent back, by somebody, from the dead
    /// letters or after it was cancelled; 0 until then. It rises each time that a dead job is
    /// sent back, and never otherwise (as [`Attempt::dispatch`] does): who was told of a failure
    /// at one number and asks at a higher one wants it tried again.
    #[must_use]
    pub const fn earlier_failures(&self) -> u32 {
        self.earlier_failures
    }

    /// When the job was accepted, by the store's clock.
    #[must_use]
    pub const fn created_at(&self) -> DateTime<Utc> {
        self.created_at
    }

    /// Tells how far the run has come, for whoever looks at the job: a share from 0 to 1 and a
    /// few words. Shown as the job's `progress` while the run is under way, and gone with its end.
    ///
    /// It never waits and never fails: call it as often as you like. The last word counts; it is
    /// written down about once a second, with those of all other jobs of the process. A share
    /// outside of 0 to 1 becomes the nearer of them, NaN becomes 0; of the message the first 500
    /// bytes are kept.
    pub fn progress(&self, fraction: f64, message: impl AsRef<str>) {
        let progress = RunProgress::new(fraction, message.as_ref());
        self.board.post(self.ending.fence, progress);
    }

    /// When the queue's timeout is over: the handler is dropped then, and the attempt counts as a
    /// failure. To give the calls that it makes what is left, rather than a limit of their own
    /// that may be longer.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Begins a transaction in the job's own database, in which rows change and the job succeeds
    /// together or not at all.
    ///
    /// # Errors
    /// When this process has lost the job, or the database does not answer (nothing counted).
    /// Return it with `?`.
    pub async fn transaction(&self) -> Result<Transaction, Failure> {
        self.ending.begin().await
    }

    /// Fires when the run's result is no longer wanted: the process must stop, or lost the job;
    /// the time is over; or somebody cancels the job. The handler is dropped soon after (5 s
    /// after a cancellation, 1 s after the others); watch it to stop cleanly between two
    /// effects. A success that is returned after a cancellation still counts.
    #[must_use]
    pub const fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }
}
