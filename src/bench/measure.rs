use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::load::{LoadError, Target, flood, pace};
use super::process::{BenchProcess, ProcessError, Role};
use super::report::{Cpu, Limit, Memory, Rate, Report, round};
use super::usage::Tree;
use super::{Noop, Reading};
use crate::broker::amqp::AmqpBroker;
use crate::broker::{Broker, BrokerError, Lane, Source};
use crate::job::QueueName;
use crate::store::StoreError;
use crate::store::postgres::PostgresStore;

/// Connections for single submissions.
const CONNECTIONS: usize = 64;
/// Connections for batches, and jobs of one.
const BATCHES: (usize, u64) = (4, 500);
/// Of the jobs, the share that is submitted one by one.
const SINGLY: u64 = 4;
/// How often it is looked how far the jobs are.
const LOOK: Duration = Duration::from_millis(50);
/// How long nothing may move before it counts as stuck.
const STUCK: Duration = Duration::from_secs(60);

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A process of the bench.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Jobs were accepted and not brought to an end.
    #[error("{done} of {wanted} jobs came to their end, and none in the last minute")]
    Stuck {
        /// How many did.
        done: u64,
        /// How many should have.
        wanted: u64,
    },
}

/// The servers of an installation; without them the bench is embedded.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The bench's queue.
    pub queue: QueueName,
    /// Its store.
    pub store: Arc<PostgresStore>,
    /// Its broker.
    pub broker: Arc<AmqpBroker>,
    /// Host and port of the store, where they are known.
    pub store_at: Option<(String, u16)>,
    /// Host and port of the broker.
    pub broker_at: Option<(String, u16)>,
}

/// Told what is going on: what, how far, of how many.
pub type Watch<'a> = &'a (dyn Fn(&str, u64, u64) + Sync);

/// What is to be measured.
#[derive(Debug)]
pub struct Measure {
    /// The servers; `None`: one embedded process.
    pub subject: Option<Subject>,
    /// Arguments and environment of the processes.
    pub arguments: Vec<String>,
    /// See `arguments`.
    pub environment: Vec<(&'static str, String)>,
    /// The API key that they take.
    pub key: String,
    /// The kind, and the payload of every job.
    pub kind: String,
    /// JSON; none: [`Noop`] of `size`.
    pub payload: Option<String>,
    /// Bytes of a payload.
    pub size: usize,
    /// Jobs of each part, except the one at a fixed rate.
    pub jobs: u64,
    /// Jobs a second of that one.
    pub rate: f64,
    /// How long that one takes.
    pub paced_for: Duration,
}

impl Measure {
    /// Measures everything and fills the report in.
    ///
    /// # Errors
    /// When a server or a process fails. Jobs may be left in the queue then.
    pub async fn run(&self, report: &mut Report, watch: Watch<'_>) -> Result<(), BenchError> {
        match &self.subject {
            Some(subject) => self.servers(subject, report, watch).await,
            None => self.embedded(report, watch).await,
        }
    }

    async fn servers(
        &self,
        subject: &Subject,
        report: &mut Report,
        watch: Watch<'_>,
    ) -> Result<(), BenchError> {
        let intake = self.start(Role::Intake).await?;
        let target = self.target(&intake);
        self.enqueue(subject, &target, report, watch).await?;
        let mut worker = self.start(Role::Worker).await?;
        let enqueued = self.jobs + self.jobs / SINGLY;
        let drained = finished(&mut worker, enqueued, "drain", watch).await?;
        report.drain = Some(Rate::of(enqueued, drained.seconds));
        worker.stop().await;

        let mut worker = self.start(Role::Worker).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        report.memory.worker_idle = worker.tree().and_then(Tree::memory).map(|(now, _)| now);
        let usage = Usage::new(Some(subject), &intake, Some(&worker));
        let written = subject.store.written().await;
        let before = usage.read();
        report.at_once = Some(self.at_once(&target, &mut worker, watch).await?);
        report.cpu = usage.read().since(&before, self.jobs);
        let wal = written.zip(subject.store.written().await);
        report.wal_per_job =
            wal.map(|(before, now)| round((now - before) as f64 / self.jobs as f64, 1.0));
        report.memory = Memory {
            worker_peak: worker.tree().and_then(Tree::memory).map(|(_, peak)| peak),
            intake_peak: intake.tree().and_then(Tree::memory).map(|(_, peak)| peak),
            ..report.memory
        };
        self.paced(&target, &mut worker, report, watch).await?;
        worker.stop().await;
        intake.stop().await;
        let limit = self.limit(subject, report, watch).await?;
        report.limit = Some(limit);
        Ok(())
    }

    async fn embedded(&self, report: &mut Report, watch: Watch<'_>) -> Result<(), BenchError> {
        let mut process = self.start(Role::Dev).await?;
        let target = self.target(&process);
        tokio::time::sleep(Duration::from_secs(2)).await;
        report.memory.worker_idle = process.tree().and_then(Tree::memory).map(|(now, _)| now);
        let usage = Usage::new(None, &process, None);
        let before = usage.read();
        report.at_once = Some(self.at_once(&target, &mut process, watch).await?);
        report.cpu = usage.read().since(&before, self.jobs);
        report.memory.worker_peak = process.tree().and_then(Tree::memory).map(|(_, peak)| peak);
        self.paced(&target, &mut process, report, watch).await?;
        process.stop().await;
        Ok(())
    }

    async fn start(&self, role: Role) -> Result<BenchProcess, ProcessError> {
        BenchProcess::start(role, &self.arguments, &self.environment).await
    }

    fn target(&self, intake: &BenchProcess) -> Target {
        Target {
            address: intake.address,
            key: self.key.clone(),
        }
    }

    /// Both ways of enqueueing, while nothing consumes.
    async fn enqueue(
        &self,
        subject: &Subject,
        target: &Target,
        report: &mut Report,
        watch: Watch<'_>,
    ) -> Result<(), BenchError> {
        let singly = self.jobs / SINGLY;
        watch("enqueue singly", 0, singly);
        let started = Instant::now();
        let body = self.body(None);
        let times = flood(target, "/v1/jobs", body, singly, CONNECTIONS).await?;
        report.enqueue_single = Some(Rate::of(singly, started.elapsed().as_secs_f64()));
        report.enqueue_single_latency = Some(times.latency());
        watch("enqueue in batches", 0, self.jobs);
        let started = Instant::now();
        self.batches(target).await?;
        report.enqueue_batch = Some(Rate::of(self.jobs, started.elapsed().as_secs_f64()));
        // So that the drain is one of the broker's queue and not of the outbox.
        let queue = Source::new(subject.queue.clone(), Lane::Normal);
        let since = Instant::now();
        while since.elapsed() < STUCK {
            let ready = subject.broker.status(&queue).await?.ready;
            watch("wait for the broker", ready, self.jobs + singly);
            if ready >= self.jobs + singly {
                break;
            }
            tokio::time::sleep(LOOK * 4).await;
        }
        Ok(())
    }

    async fn batches(&self, target: &Target) -> Result<(), LoadError> {
        let (connections, size) = BATCHES;
        let one = self.body(None);
        let mut body = Vec::with_capacity((one.len() + 1) * 500 + 2);
        for n in 0..size {
            body.push(if n == 0 { b'[' } else { b',' });
            body.extend_from_slice(&one);
        }
        body.push(b']');
        let count = self.jobs / size;
        flood(target, "/v1/jobs/batch", body.into(), count, connections).await?;
        Ok(())
    }

    async fn at_once(
        &self,
        target: &Target,
        worker: &mut BenchProcess,
        watch: Watch<'_>,
    ) -> Result<Rate, BenchError> {
        worker.reset().await?;
        let started = Instant::now();
        let (enqueued, done) = tokio::join!(
            self.batches(target),
            finished(worker, self.jobs, "enqueue and process", watch),
        );
        enqueued?;
        done?;
        Ok(Rate::of(self.jobs, started.elapsed().as_secs_f64()))
    }

    async fn paced(
        &self,
        target: &Target,
        worker: &mut BenchProcess,
        report: &mut Report,
        watch: Watch<'_>,
    ) -> Result<(), BenchError> {
        let full = (self.rate * self.paced_for.as_secs_f64()).ceil() as u64;
        let count = full.clamp(1, self.jobs);
        worker.reset().await?;
        let body = |due| self.body(Some(due));
        let (accepted, done) = tokio::join!(
            pace(target, body, count, self.rate, CONNECTIONS),
            finished(worker, count, "fixed rate", watch),
        );
        let done = done?;
        report.offered = self.rate;
        report.accepted = Some(accepted?.latency());
        let timed = |latency: super::Latency| (latency.count > 0).then_some(latency);
        report.started = timed(done.start);
        report.done = timed(done.end);
        Ok(())
    }

    async fn limit(
        &self,
        subject: &Subject,
        report: &Report,
        watch: Watch<'_>,
    ) -> Result<Limit, BenchError> {
        watch("the limit", 0, self.jobs);
        let started = Instant::now();
        let (broker, store) = tokio::join!(
            subject.broker.raw_speed(self.jobs, self.size),
            subject.store.raw_speed(self.jobs, self.size),
        );
        let both = Rate::of(self.jobs, started.elapsed().as_secs_f64());
        let ours = report.at_once.map_or(0.0, |rate| rate.per_second);
        Ok(Limit {
            both,
            broker: Rate::of(self.jobs, broker?.as_secs_f64()),
            store: Rate::of(self.jobs, store?.as_secs_f64()),
            share: round(ours / both.per_second.max(1.0), 1000.0),
        })
    }

    /// A submission, of a job that was due at `at`.
    fn body(&self, at: Option<u64>) -> Bytes {
        let payload = self.payload.clone().or_else(|| {
            let noop = Noop::of_size(self.size);
            serde_json::to_string(&Noop { at, ..noop }).ok()
        });
        let payload = payload.unwrap_or_default();
        format!(r#"{{"kind":"{}","payload":{payload}}}"#, self.kind).into()
    }
}

/// Waits until a process has brought so many jobs to their end.
async fn finished(
    process: &mut BenchProcess,
    wanted: u64,
    what: &str,
    watch: Watch<'_>,
) -> Result<Reading, BenchError> {
    let (mut moved, mut last) = (Instant::now(), 0);
    loop {
        let reading = process.read().await?;
        watch(what, reading.done, wanted);
        if reading.done >= wanted {
            return Ok(reading);
        }
        if reading.done != last {
            (moved, last) = (Instant::now(), reading.done);
        } else if moved.elapsed() > STUCK {
            return Err(BenchError::Stuck { done: last, wanted });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whose time is measured.
struct Usage {
    load: Tree,
    intake: Option<Tree>,
    worker: Option<Tree>,
    broker: Option<Tree>,
    store: Option<Tree>,
}

/// Processor time of each since its start.
struct Times([Option<Duration>; 5]);

impl Usage {
    fn new(
        subject: Option<&Subject>,
        intake: &BenchProcess,
        worker: Option<&BenchProcess>,
    ) -> Self {
        let at = |place: &Option<(String, u16)>| {
            let (host, port) = place.as_ref()?;
            Tree::listening(host, *port)
        };
        Self {
            load: Tree::of(std::process::id()),
            intake: intake.tree(),
            worker: worker.and_then(BenchProcess::tree),
            broker: subject.and_then(|subject| at(&subject.broker_at)),
            store: subject.and_then(|subject| at(&subject.store_at)),
        }
    }

    fn read(&self) -> Times {
        let trees = [
            Some(self.load),
            self.intake,
            self.worker,
            self.broker,
            self.store,
        ];
        Times(trees.map(|tree| tree.and_then(Tree::cpu)))
    }
}

impl Times {
    fn since(&self, before: &Self, jobs: u64) -> Cpu {
        let spent = |at: usize| {
            let (now, then) = (self.0[at]?, before.0[at]?);
            let micros = now.saturating_sub(then).as_secs_f64() * 1e6;
            Some(round(micros / jobs as f64, 10.0))
        };
        // Our children count for themselves.
        let [load, intake, worker, broker, store] = [0, 1, 2, 3, 4].map(spent);
        let own = intake.map(|intake| round(intake + worker.unwrap_or(0.0), 10.0));
        let children = own.unwrap_or(0.0);
        Cpu {
            intake,
            worker,
            own,
            broker,
            store,
            load: load.map(|load| round((load - children).max(0.0), 10.0)),
        }
    }
}
