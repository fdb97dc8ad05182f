use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::error::BenchError;
use super::load::{LoadError, Target, flood, pace};
use super::meter::now;
use super::noop::{self, Noop};
use super::process::{BenchProcess, ProcessError, Role};
use super::report::{Limit, Memory, Rate, Report, round};
use super::runs::{Timed, together};
use super::spent::Usage;
use super::usage::Tree;
use super::workers::{STUCK, Workers};
use crate::broker::amqp::AmqpBroker;
use crate::broker::{Broker, BrokerError, Lane, Source};
use crate::job::QueueName;
use crate::store::postgres::PostgresStore;

/// Connections for single submissions.
const CONNECTIONS: usize = 64;
/// Connections for batches, and jobs of one.
const BATCHES: (usize, u64) = (4, 500);
/// Of the jobs, the share that is submitted one by one.
const SINGLY: u64 = 4;
/// Jobs before anything is counted: connections are opened and statements prepared by them.
const WARM: u64 = 2_000;
/// How long a worker is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(2);
/// How often the broker is asked how much it holds.
const LOOK: Duration = Duration::from_millis(200);

/// The servers of an installation; without them the bench is embedded.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The bench's queues.
    pub queues: Vec<QueueName>,
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
    /// Processes that run the jobs.
    pub workers: usize,
    /// Queues that the jobs are spread over.
    pub queues: usize,
    /// How often all of it is measured.
    pub runs: usize,
}

impl Measure {
    /// Measures everything, as often as it is to be: medians, and each run by itself. `head` is
    /// what is known beforehand.
    ///
    /// # Errors
    /// When a server or a process fails. Jobs may be left in the queues then.
    pub async fn run(&self, head: &Report, watch: Watch<'_>) -> Result<Report, BenchError> {
        let mut runs = Vec::with_capacity(self.runs);
        for run in 1..=self.runs {
            let watch = |what: &str, done: u64, of: u64| match self.runs {
                1 => watch(what, done, of),
                all => watch(&format!("{run}/{all} {what}"), done, of),
            };
            let (mut report, mut timed) = (head.clone(), Timed::default());
            match &self.subject {
                Some(subject) => {
                    self.servers(subject, &mut report, &mut timed, &watch)
                        .await?;
                }
                None => self.embedded(&mut report, &mut timed, &watch).await?,
            }
            timed.tell(&mut report);
            runs.push((report, timed));
        }
        together(runs)
    }

    async fn servers(
        &self,
        subject: &Subject,
        report: &mut Report,
        timed: &mut Timed,
        watch: Watch<'_>,
    ) -> Result<(), BenchError> {
        let intake = self.start(Role::Intake).await?;
        let target = self.target(&intake);
        let warm = self.warm_up(&target, watch).await?;
        self.published(subject, warm, watch).await?;
        self.enqueue(&target, report, timed, watch).await?;
        let enqueued = warm + self.jobs + self.jobs / SINGLY;
        // So that the drain is one of the broker's queues and not of the outbox.
        self.published(subject, enqueued, watch).await?;
        let mut workers = self.workers().await?;
        let drained = workers.finished(enqueued, "drain", watch).await?;
        report.drain = Some(Rate::of(enqueued, drained.seconds(None)));
        workers.stop().await;

        let mut workers = self.workers().await?;
        tokio::time::sleep(IDLE).await;
        report.memory.worker_idle = workers.memory().map(|(now, _)| now);
        let warm = self.warm_up(&target, watch).await?;
        workers.finished(warm, "warm up", watch).await?;
        self.paced(&target, &mut workers, report, timed, watch)
            .await?;
        let usage = Usage::new(Some(subject), intake.tree(), workers.trees());
        let written = subject.store.written().await;
        let before = usage.read();
        report.at_once = Some(self.at_once(&target, &mut workers, watch).await?);
        report.cpu = usage.read().since(&before, self.jobs);
        let wal = written.zip(subject.store.written().await);
        report.wal_per_job =
            wal.map(|(before, now)| round((now - before) as f64 / self.jobs as f64, 1.0));
        report.memory = Memory {
            worker_peak: workers.memory().map(|(_, peak)| peak),
            intake_peak: intake.tree().and_then(Tree::memory).map(|(_, peak)| peak),
            ..report.memory
        };
        workers.stop().await;
        intake.stop().await;
        // Right after what it is compared with: what else goes on here changes in minutes.
        let limit = self.limit(subject, report, watch).await?;
        report.limit = Some(limit);
        Ok(())
    }

    async fn embedded(
        &self,
        report: &mut Report,
        timed: &mut Timed,
        watch: Watch<'_>,
    ) -> Result<(), BenchError> {
        let process = self.start(Role::Dev).await?;
        let (target, tree) = (self.target(&process), process.tree());
        let mut process = Workers(vec![process]);
        tokio::time::sleep(IDLE).await;
        report.memory.worker_idle = process.memory().map(|(now, _)| now);
        let warm = self.warm_up(&target, watch).await?;
        process.finished(warm, "warm up", watch).await?;
        self.paced(&target, &mut process, report, timed, watch)
            .await?;
        let usage = Usage::new(None, tree, Vec::new());
        let before = usage.read();
        report.at_once = Some(self.at_once(&target, &mut process, watch).await?);
        report.cpu = usage.read().since(&before, self.jobs);
        report.memory.worker_peak = process.memory().map(|(_, peak)| peak);
        process.stop().await;
        Ok(())
    }

    async fn start(&self, role: Role) -> Result<BenchProcess, ProcessError> {
        BenchProcess::start(role, &self.arguments, &self.environment).await
    }

    async fn workers(&self) -> Result<Workers, ProcessError> {
        let starting = (0..self.workers).map(|_| self.start(Role::Worker));
        futures::future::try_join_all(starting).await.map(Workers)
    }

    fn target(&self, intake: &BenchProcess) -> Target {
        Target {
            address: intake.address,
            key: self.key.clone(),
        }
    }

    /// Submits in both ways what is not counted; how many jobs that was.
    async fn warm_up(&self, target: &Target, watch: Watch<'_>) -> Result<u64, BenchError> {
        let singly = CONNECTIONS as u64;
        watch("warm up", 0, WARM + singly);
        self.batches(target, WARM).await?;
        let bodies = self.bodies();
        flood(target, "/v1/jobs", &bodies, singly, CONNECTIONS).await?;
        Ok(WARM + singly)
    }

    /// Waits until the broker holds so many jobs.
    async fn published(
        &self,
        subject: &Subject,
        jobs: u64,
        watch: Watch<'_>,
    ) -> Result<(), BenchError> {
        let (mut moved, mut last) = (Instant::now(), 0);
        loop {
            let mut ready = 0;
            for queue in &subject.queues {
                let queue = Source::new(queue.clone(), Lane::Normal);
                ready += match subject.broker.status(&queue).await {
                    Err(BrokerError::NoQueue(_)) => 0, // the intake is about to declare it
                    status => status?.ready,
                };
            }
            watch("wait for the broker", ready, jobs);
            if ready >= jobs {
                return Ok(());
            }
            if ready != last {
                (moved, last) = (Instant::now(), ready);
            } else if moved.elapsed() > STUCK {
                return Err(BenchError::Unpublished {
                    published: ready,
                    wanted: jobs,
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Both ways of enqueueing, while nothing consumes.
    async fn enqueue(
        &self,
        target: &Target,
        report: &mut Report,
        timed: &mut Timed,
        watch: Watch<'_>,
    ) -> Result<(), BenchError> {
        let singly = self.jobs / SINGLY;
        watch("enqueue singly", 0, singly);
        let bodies = self.bodies();
        let started = Instant::now();
        timed.call = flood(target, "/v1/jobs", &bodies, singly, CONNECTIONS).await?;
        report.enqueue_single = Some(Rate::of(singly, started.elapsed().as_secs_f64()));
        watch("enqueue in batches", 0, self.jobs);
        let started = Instant::now();
        self.batches(target, self.jobs).await?;
        report.enqueue_batch = Some(Rate::of(self.jobs, started.elapsed().as_secs_f64()));
        Ok(())
    }

    async fn batches(&self, target: &Target, jobs: u64) -> Result<(), LoadError> {
        let (connections, size) = BATCHES;
        let each = self.bodies();
        let mut body = Vec::new();
        for (n, one) in (0..size).zip(each.iter().cycle()) {
            body.push(if n == 0 { b'[' } else { b',' });
            body.extend_from_slice(one);
        }
        body.push(b']');
        let bodies = [body.into()];
        flood(target, "/v1/jobs/batch", &bodies, jobs / size, connections).await?;
        Ok(())
    }

    async fn at_once(
        &self,
        target: &Target,
        workers: &mut Workers,
        watch: Watch<'_>,
    ) -> Result<Rate, BenchError> {
        workers.reset().await?;
        let started = now();
        let (enqueued, done) = tokio::join!(
            self.batches(target, self.jobs),
            workers.finished(self.jobs, "enqueue and process", watch),
        );
        enqueued?;
        Ok(Rate::of(self.jobs, done?.seconds(Some(started))))
    }

    async fn paced(
        &self,
        target: &Target,
        workers: &mut Workers,
        report: &mut Report,
        timed: &mut Timed,
        watch: Watch<'_>,
    ) -> Result<(), BenchError> {
        let full = (self.rate * self.paced_for.as_secs_f64()).ceil() as u64;
        let count = full.clamp(1, self.jobs);
        workers.reset().await?;
        let queues = self.queues.max(1) as u64;
        let body = |n, due| self.body(usize::try_from(n % queues).unwrap_or(0), Some(due));
        let (accepted, done) = tokio::join!(
            pace(target, body, count, self.rate, CONNECTIONS),
            workers.finished(count, "fixed rate", watch),
        );
        done?;
        report.offered = self.rate;
        timed.accepted = accepted?;
        timed.done = workers.timings().await?;
        Ok(())
    }

    async fn limit(
        &self,
        subject: &Subject,
        report: &Report,
        watch: Watch<'_>,
    ) -> Result<Limit, BenchError> {
        watch("the limit", 0, self.jobs);
        let raw = |jobs: u64| async move {
            tokio::join!(
                subject.broker.raw_speed(jobs, self.size),
                subject.store.raw_speed(jobs, self.size),
            )
        };
        let (broker, store) = raw(WARM).await;
        broker?;
        store?;
        let usage = Usage::new(Some(subject), None, Vec::new());
        let before = usage.read();
        let started = Instant::now();
        let (broker, store) = raw(self.jobs).await;
        let both = Rate::of(self.jobs, started.elapsed().as_secs_f64());
        let spent = usage.read().since(&before, self.jobs);
        let ours = report.at_once.map_or(0.0, |rate| rate.per_second);
        let (cpu, our_cpu) = (spent.all(), report.cpu.all());
        Ok(Limit {
            both,
            broker: Rate::of(self.jobs, broker?.as_secs_f64()),
            store: Rate::of(self.jobs, store?.as_secs_f64()),
            share: round(ours / both.per_second.max(1.0), 1000.0),
            cpu,
            cpu_share: cpu
                .zip(our_cpu)
                .map(|(limit, ours)| round(limit / ours.max(0.1), 1000.0)),
        })
    }

    /// A submission to each queue.
    fn bodies(&self) -> Vec<Bytes> {
        (0..self.queues).map(|n| self.body(n, None)).collect()
    }

    /// A submission to the queue of that number, of a job that was due at `at`.
    fn body(&self, queue: usize, at: Option<u64>) -> Bytes {
        let payload = self.payload.clone().or_else(|| {
            let noop = Noop::of_size(self.size);
            serde_json::to_string(&Noop { at, ..noop }).ok()
        });
        let payload = payload.unwrap_or_default();
        let kind = noop::kind(&self.kind, queue);
        format!(r#"{{"kind":"{kind}","payload":{payload}}}"#).into()
    }
}
