use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use super::TestingError;
use super::folder::Folder;
use crate::config::{QueueConfig, Queues};
use crate::job::{Kind, NewJob, Outcome, QueueName};
use crate::store::sqlite::SqliteStore;
use crate::store::{Claim, ClaimRequest, Fence, Migration, NewProcess, Role, Store};
use crate::worker::{Attempt, Job};

/// How long an entry of the outbox is left alone: nobody publishes here.
const NEVER: Duration = Duration::from_secs(3600);

/// Runs the handler of one job once.
///
/// ```
/// use longshore::job::{Done, Failure, JobResult};
/// use longshore::testing::RunOnce;
/// use longshore::worker::{Attempt, Job};
///
/// #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// struct Halve { number: u32 }
///
/// impl Job for Halve {
///     const KIND: &'static str = "number.halve";
///     type Context = ();
///     async fn run(self, (): &(), attempt: &Attempt) -> JobResult {
///         if self.number % 2 == 1 {
///             return Err(Failure::permanent("odd", "cannot be halved"));
///         }
///         if attempt.number() == 1 {
///             return Err(Failure::retry("tired", "not at once"));
///         }
///         Done::with(self.number / 2)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), longshore::testing::TestingError> {
/// let outcome = RunOnce::new(Halve { number: 8 }).attempt(2).run(&()).await?;
/// assert_eq!(outcome.result(), Some(&serde_json::json!(4)));
///
/// let outcome = RunOnce::new(Halve { number: 8 }).run(&()).await?;
/// assert_eq!(outcome.code(), Some("tired"));
///
/// let outcome = RunOnce::new(Halve { number: 7 }).run(&()).await?;
/// assert_eq!(outcome.code(), Some("odd"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RunOnce<J> {
    job: J,
    number: u32,
    max_attempts: u32,
    tables: Vec<Migration>,
    starts: Vec<&'static str>,
}

impl<J: Job> RunOnce<J> {
    /// The first of 8 attempts at this job.
    pub fn new(job: J) -> Self {
        Self {
            job,
            number: 1,
            max_attempts: 8,
            tables: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// The attempt of this number, from 1.
    #[must_use]
    pub fn attempt(self, number: u32) -> Self {
        Self { number, ..self }
    }

    /// The number of the last attempt there may be.
    #[must_use]
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        Self {
            max_attempts,
            ..self
        }
    }

    /// Makes these tables first, for a handler that opens a transaction.
    #[must_use]
    pub fn migration(mut self, tables: Migration) -> Self {
        self.tables.push(tables);
        self
    }

    /// Tells of a kind whose jobs it may submit in its transaction, as a queue would.
    #[must_use]
    pub fn starts<Next: Job>(mut self) -> Self {
        self.starts.push(Next::KIND);
        self
    }

    /// Runs it as a worker would: the payload goes through JSON and is validated, and a panic is
    /// an outcome. Nothing limits its time. What it commits with [`Attempt::transaction`] is gone
    /// afterwards, and the jobs that it submits there are not run.
    ///
    /// # Errors
    /// When the test's own store does not work; never because of the job.
    pub async fn run(self, context: &J::Context) -> Result<Outcome, TestingError> {
        let payload = serde_json::to_vec(&self.job)
            .map_err(|error| TestingError::Program(format!("{}: {error}", J::KIND)))?;
        let job: J = match crate::worker::decode(&payload) {
            Ok(job) => job,
            Err(wrong) => return Ok(Outcome::invalid("invalid_payload", &super::lines(&wrong))),
        };
        let folder = Folder::create()?;
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&folder.path().join("jobs.db")).await?);
        store.migrate().await?;
        store.extend(&self.tables).await?;
        let attempt = self.begin(&store, payload).await?;
        let run = AssertUnwindSafe(job.run(context, &attempt)).catch_unwind();
        let outcome = match run.await {
            Ok(result) => Outcome::from(result),
            Err(panic) => Outcome::panicked(&crate::worker::panic_message(panic.as_ref())),
        };
        drop(attempt);
        store.close().await;
        Ok(outcome)
    }

    /// Has the job accepted and claimed.
    async fn begin(
        &self,
        store: &Arc<dyn Store>,
        payload: Vec<u8>,
    ) -> Result<Attempt, TestingError> {
        let program = |error: crate::job::NameError| TestingError::Program(error.to_string());
        let kind: Kind = J::KIND.parse().map_err(program)?;
        let queue: QueueName = "test".parse().map_err(program)?;
        let me = NewProcess::this(Role::Worker, Vec::new());
        let me = store.register(&me).await?;
        let job = NewJob::new(kind, queue.clone(), payload);
        let jobs = std::slice::from_ref(&job);
        store.insert(me, jobs, NEVER).await?;
        let request = ClaimRequest {
            id: job.id,
            dispatch: 1,
            over_epoch: None,
        };
        match store.claim(me, &[request]).await?.into_iter().next() {
            Some(Claim::Won(claimed)) => {
                let fence = Fence {
                    id: job.id,
                    owner: claimed.owner,
                    epoch: claimed.epoch,
                };
                let mut queues = Queues::built_in();
                let starts = self.starts.iter().map(|kind| kind.parse());
                let starts = starts.collect::<Result<_, _>>().map_err(program)?;
                queues.insert(queue, QueueConfig::new(starts));
                let queues = Arc::new(queues);
                let numbers = (self.number, self.max_attempts);
                let created = claimed.created_at;
                let store = store.clone();
                Ok(Attempt::of_test(store, queues, fence, created, numbers))
            }
            other => Err(TestingError::Program(format!("not claimed: {other:?}"))),
        }
    }
}
