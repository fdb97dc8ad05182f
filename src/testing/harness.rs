use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use tokio::net::TcpListener;

use super::TestingError;
use super::folder::Folder;
use crate::admin::{Submission, complete};
use crate::app::{App, complete_queues};
use crate::broker::embedded::EmbeddedBroker;
use crate::config::{Need, Queues, SettingsArgs};
use crate::job::{JobId, JobView, Kind, NewJob, Priority, QueueName, State};
use crate::node::{Node, Plan, Shutdown, Work};
use crate::store::sqlite::{Clock, SqliteStore};
use crate::store::{JobFilter, Operated, Page, Role, Store};
use crate::worker::{Job, Registry};

/// How long jobs may take to come to rest, in real time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(5);
/// Jobs that are listed at most.
const ALL: u32 = 10_000;

/// A whole program at work, in memory's speed and on a clock that only the test moves.
///
/// It is what `longshore dev` starts, without the HTTP API: store, broker, relay and workers. The
/// store's clock stands still until [`Harness::advance`], so a retry in ten minutes takes no time,
/// and nothing becomes due by itself. Retry delays have no jitter here, and no circuit breaker
/// opens. The queues' timeouts and what handlers sleep are real time.
///
/// ```
/// use std::time::Duration;
/// use longshore::job::{Done, Failure, JobResult, State};
/// use longshore::testing::Harness;
/// use longshore::worker::{Attempt, Job, NextJob};
///
/// #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// struct Fetch { page: u32 }
///
/// impl Job for Fetch {
///     const KIND: &'static str = "page.fetch";
///     type Context = ();
///     async fn run(self, (): &(), attempt: &Attempt) -> JobResult {
///         if attempt.number() < 3 {
///             return Err(Failure::retry("not_yet", "the page is not there yet"));
///         }
///         let mut tx = attempt.transaction().await?;
///         tx.submit(NextJob::new(&Index { page: self.page })?)?;
///         tx.succeed(self.page).await
///     }
/// }
///
/// #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// struct Index { page: u32 }
///
/// impl Job for Index {
///     const KIND: &'static str = "page.index";
///     type Context = ();
///     async fn run(self, (): &(), _: &Attempt) -> JobResult { Ok(Done) }
/// }
///
/// # #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
/// # async fn main() -> Result<(), longshore::testing::TestingError> {
/// let app = longshore::App::new().job::<Fetch>("pages", ()).job::<Index>("pages", ());
/// let harness = Harness::start(app).await?;
/// let id = harness.submit(&Fetch { page: 7 }).await?;
/// harness.rest().await?;
/// assert_eq!(harness.job(id).await?.state, State::Retrying);
///
/// harness.advance(Duration::from_secs(1)).await?; // the first retry: after 1 s
/// harness.advance(Duration::from_secs(2)).await?; // the second one: after 2 s
/// assert_eq!(harness.job(id).await?.state, State::Succeeded);
/// assert_eq!(harness.jobs("page.index").await?[0].state, State::Succeeded);
/// harness.stop().await
/// # }
/// ```
#[derive(Debug)]
pub struct Harness {
    node: Option<Node>,
    store: Arc<dyn Store>,
    clock: Clock,
    queues: Arc<Queues>,
    registry: Arc<Registry>,
    shutdown: Shutdown,
    folder: Folder,
}

impl Harness {
    /// Starts the program with the settings of `longshore dev` (the sandbox of payments, mails
    /// as files in [`Harness::folder`]) and the built-in queues, completed by its own.
    ///
    /// # Errors
    /// When the program is not put together right, or the machine is in the way.
    pub async fn start(app: App) -> Result<Self, TestingError> {
        Self::start_with(app, SettingsArgs::default(), Queues::built_in()).await
    }

    /// Starts it with these settings and queues. `DATABASE_URL`, `AMQP_URL` and the data folder
    /// are the harness's own.
    ///
    /// # Errors
    /// As [`Harness::start`], and what is wrong with the settings.
    pub async fn start_with(
        app: App,
        settings: SettingsArgs,
        queues: Queues,
    ) -> Result<Self, TestingError> {
        let folder = Folder::create()?;
        let settings = SettingsArgs {
            database_url: None,
            amqp_url: None,
            data_dir: Some(folder.path().display().to_string()),
            ..settings
        };
        let settings = settings.validate(Need::Dev)?;
        let (mut registry, _) = app
            .into_parts()
            .map_err(|mistakes| TestingError::Program(mistakes.join("\n")))?;
        let queues = predictable(queues, &registry);
        let names: Vec<QueueName> = queues.names().cloned().collect();
        let handlers = registry.handlers(&queues, &names, &settings.worker)?;
        registry.open_doors(&settings.worker)?;
        let clock = Clock::by_hand(Utc::now());
        let file = folder.path().join("longshore.db");
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_on(&file, clock.clone()).await?);
        let (queues, registry) = (Arc::new(queues), Arc::new(registry));
        let shutdown = Shutdown::default();
        let plan = Plan {
            role: Role::Dev,
            store: store.clone(),
            broker: Arc::new(EmbeddedBroker::new(&names)),
            queues: queues.clone(),
            registry: registry.clone(),
            listener: TcpListener::bind(("127.0.0.1", 0)).await?,
            intake: false,
            admin_key: None,
            work: Some(Work {
                queues: names,
                handlers: Arc::new(handlers),
                shutdown_deadline: Duration::ZERO,
                isolation: None,
            }),
            migrate: true,
        };
        let node = Node::start(plan, shutdown.clone()).await?;
        Ok(Self {
            node: Some(node),
            store,
            clock,
            queues,
            registry,
            shutdown,
            folder,
        })
    }

    /// Submits a job, as an app does: what the door refuses is refused.
    ///
    /// # Errors
    /// [`TestingError::Refused`], with every field that is wrong.
    pub async fn submit<J: Job>(&self, job: &J) -> Result<JobId, TestingError> {
        self.accept(job, None).await
    }

    /// Submits a job to be run after a delay, by the harness's clock.
    ///
    /// # Errors
    /// As [`Harness::submit`].
    pub async fn submit_after<J: Job>(
        &self,
        job: &J,
        delay: Duration,
    ) -> Result<JobId, TestingError> {
        self.accept(job, Some(delay)).await
    }

    /// Submits a job by its kind and payload, as a program in another language does.
    ///
    /// # Errors
    /// As [`Harness::submit`].
    pub async fn submit_json(
        &self,
        kind: &str,
        payload: &serde_json::Value,
    ) -> Result<JobId, TestingError> {
        self.take(kind, payload.to_string(), None).await
    }

    async fn accept<J: Job>(
        &self,
        job: &J,
        delay: Option<Duration>,
    ) -> Result<JobId, TestingError> {
        let payload = serde_json::to_string(job)?;
        self.take(J::KIND, payload, delay).await
    }

    async fn take(
        &self,
        kind: &str,
        payload: String,
        delay: Option<Duration>,
    ) -> Result<JobId, TestingError> {
        let submission = Submission {
            kind: kind.to_owned(),
            payload: RawValue::from_string(payload)?,
            run_at: None,
            delay: delay.map(|delay| format!("{}ms", delay.as_millis())),
            priority: Priority::Normal,
            max_attempts: None,
            tags: Vec::new(),
        };
        let job: NewJob = submission.into_job("test", None, &self.registry, &self.queues)?;
        let id = job.id;
        if let Some(node) = &self.node {
            node.acceptance.accept(job).await?;
        }
        Ok(id)
    }

    /// Waits until nothing happens any more by itself: every job has ended, or waits for a time
    /// that has not come.
    ///
    /// # Errors
    /// [`TestingError::Restless`] when jobs still work after a minute of real time.
    pub async fn rest(&self) -> Result<(), TestingError> {
        let began = tokio::time::Instant::now();
        loop {
            let busy = self.busy().await?;
            if busy.is_empty() {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let job = |job: &JobView| format!("{} {} {}", job.id, job.kind, job.state);
                let jobs: Vec<String> = busy.iter().take(10).map(job).collect();
                return Err(TestingError::Restless {
                    within: PATIENCE,
                    jobs: jobs.join(", "),
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// One look at all of them is enough: what a job starts is there when its own end is.
    async fn busy(&self) -> Result<Vec<JobView>, TestingError> {
        let live = [
            State::Queued,
            State::Running,
            State::Scheduled,
            State::Retrying,
        ];
        let mut jobs = self.list(&live, &[]).await?;
        let now = self.now();
        jobs.retain(|job| match job.state {
            State::Scheduled | State::Retrying => job.run_at.is_none_or(|at| at <= now),
            _ => true,
        });
        Ok(jobs)
    }

    /// Moves the clock on, and waits for all that has become due: until everything is at rest
    /// again. A job that is due twice in this time runs once; go in steps to see each run.
    ///
    /// # Errors
    /// As [`Harness::rest`].
    pub async fn advance(&self, by: Duration) -> Result<(), TestingError> {
        self.rest().await?;
        self.clock.advance(by);
        self.rest().await
    }

    /// What the clock says.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// A job as it stands, with its attempts.
    ///
    /// # Errors
    /// When there is no such job.
    pub async fn job(&self, id: JobId) -> Result<JobView, TestingError> {
        let job = self.store.job(id).await?;
        let mut job = job.ok_or_else(|| TestingError::Program(format!("no job {id}")))?;
        complete(&mut job, &self.queues);
        Ok(job)
    }

    /// Every job of this kind, the newest first: also those that other jobs have started.
    ///
    /// # Errors
    /// When the kind is not a name.
    pub async fn jobs(&self, kind: &str) -> Result<Vec<JobView>, TestingError> {
        let kind: Kind = kind
            .parse()
            .map_err(|error| TestingError::Program(format!("`{kind}`: {error}")))?;
        self.list(&[], &[kind]).await
    }

    /// Every dead job, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn dead_letters(&self) -> Result<Vec<JobView>, TestingError> {
        self.list(&[State::Dead], &[]).await
    }

    /// Sends a dead or cancelled job back to its queue, as an operator does.
    ///
    /// # Errors
    /// When it is neither.
    pub async fn requeue(&self, id: JobId) -> Result<(), TestingError> {
        match self.store.requeue(id, None, "test").await? {
            Operated::Done | Operated::Already | Operated::Requested => Ok(()),
            Operated::Refused(state) => Err(TestingError::Program(format!("job {id} is {state}"))),
            Operated::Unknown => Err(TestingError::Program(format!("no job {id}"))),
        }
    }

    /// The store, for a look into tables of one's own ([`crate::store::Extensions::differences`]).
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The folder with its data; mails are in `mail` in it, unless the settings say otherwise.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Stops it; what still runs is handed back. Dropping it stops it too, some time later.
    ///
    /// # Errors
    /// When it had failed before.
    pub async fn stop(mut self) -> Result<(), TestingError> {
        self.shutdown.drain.cancel();
        self.shutdown.cut.cancel();
        match self.node.take() {
            Some(node) => Ok(node.finish().await?),
            None => Ok(()),
        }
    }

    async fn list(&self, states: &[State], kinds: &[Kind]) -> Result<Vec<JobView>, TestingError> {
        let filter = JobFilter {
            states: states.to_vec(),
            kinds: kinds.to_vec(),
            ..JobFilter::default()
        };
        let page = Page {
            limit: ALL,
            before: None,
        };
        Ok(self.store.list(&filter, page).await?)
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.shutdown.drain.cancel();
        self.shutdown.cut.cancel();
    }
}

/// The same delay each time, and no queue that is shut in real time.
fn predictable(mut queues: Queues, registry: &Registry) -> Queues {
    complete_queues(&mut queues, registry);
    let names: Vec<QueueName> = queues.names().cloned().collect();
    for name in names {
        if let Some(mut queue) = queues.get(name.as_str()).cloned() {
            queue.retry.jitter = 0.0;
            queue.breaker.failures = u32::MAX;
            queues.insert(name, queue);
        }
    }
    queues
}
