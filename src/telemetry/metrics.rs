use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::job::QueueName;

/// The media type of [`Metrics::exposition`].
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds, in seconds, of the durations of runs that are told apart: from a statement in a
/// database to the longest run there may be.
const RUN_SECONDS: [f64; 12] = [
    0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 180.0, 600.0, 1740.0,
];

/// What passed through this process since it started. The only labels that come from outside are
/// queues, and those come from the queue file: their number is bounded.
pub struct Metrics {
    registry: Registry,
    accepted: Family<OfQueue, Counter>,
    runs: Family<OfRun, Counter>,
    run_seconds: Family<OfQueue, Histogram, fn() -> Histogram>,
    running: Family<OfQueue, Gauge>,
    slots: Family<OfQueue, Gauge>,
    breaker: Family<OfQueue, Gauge>,
    rescued: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQueue {
    queue: QueueName,
}

impl EncodeLabelValue for QueueName {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRun {
    queue: QueueName,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    queue: String,
    state: String,
}

/// What the store holds may be of a queue whose name is none here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfHeld {
    queue: String,
}

/// Measures a run until it is dropped, however the run ends.
#[derive(Debug)]
pub struct RunTimer {
    running: Gauge,
    seconds: Histogram,
    began: Instant,
}

impl Drop for RunTimer {
    fn drop(&mut self) {
        self.running.dec();
        self.seconds.observe(self.began.elapsed().as_secs_f64());
    }
}

/// What the store holds, at this moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Holding {
    /// By queue.
    pub queues: Vec<Held>,
    /// For how many seconds the oldest messages that nobody publishes have waited to be; 0 when
    /// none waits.
    pub oldest_unpublished: f64,
}

/// What the store holds of a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// The queue.
    pub queue: String,
    /// How many jobs it holds, by state.
    pub states: Vec<(String, u64)>,
    /// For how many seconds the oldest job that may run has waited; 0 when none waits.
    pub oldest_ready: f64,
}

impl Default for Metrics {
    fn default() -> Self {
        let run_seconds: fn() -> Histogram = || Histogram::new(RUN_SECONDS);
        let mut metrics = Self {
            registry: Registry::with_prefix("longshore"),
            accepted: Family::default(),
            runs: Family::default(),
            run_seconds: Family::new_with_constructor(run_seconds),
            running: Family::default(),
            slots: Family::default(),
            breaker: Family::default(),
            rescued: Counter::default(),
        };
        metrics.describe();
        metrics
    }
}

impl Metrics {
    fn describe(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "build",
            "The program's version",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "jobs_accepted",
            "Jobs that this process made durable",
            self.accepted.clone(),
        );
        registry.register(
            "runs",
            "Runs that ended in this process, by what became of the job; `refused`: the job was \
             somebody else's by then",
            self.runs.clone(),
        );
        registry.register_with_unit(
            "run",
            "How long handlers ran",
            Unit::Seconds,
            self.run_seconds.clone(),
        );
        registry.register(
            "jobs_running",
            "Jobs that this process runs now",
            self.running.clone(),
        );
        registry.register(
            "job_slots",
            "Jobs that this process runs at once",
            self.slots.clone(),
        );
        registry.register(
            "breaker_open",
            "1 while this process leaves a queue alone because what its jobs need is down",
            self.breaker.clone(),
        );
        registry.register(
            "jobs_rescued",
            "Jobs of dead processes that this process sent on their way again",
            self.rescued.clone(),
        );
    }

    /// Jobs were accepted.
    pub fn accepted(&self, queue: &QueueName, jobs: u64) {
        self.accepted.get_or_create(&of(queue)).inc_by(jobs);
    }

    /// This process runs so many jobs of the queue at once.
    pub fn slots(&self, queue: &QueueName, slots: u32) {
        self.slots.get_or_create(&of(queue)).set(slots.into());
    }

    /// A handler starts to run; it ends when the timer is dropped.
    #[must_use]
    pub fn run(&self, queue: &QueueName) -> RunTimer {
        let labels = of(queue);
        let running = self.running.get_or_create_owned(&labels);
        running.inc();
        RunTimer {
            running,
            seconds: self.run_seconds.get_or_create_owned(&labels),
            began: Instant::now(),
        }
    }

    /// What became of a job whose run ended here.
    pub fn outcome(&self, queue: &QueueName, outcome: &'static str) {
        let queue = queue.clone();
        self.runs.get_or_create(&OfRun { queue, outcome }).inc();
    }

    /// The breaker of the queue opened, or closed again.
    pub fn breaker(&self, queue: &QueueName, open: bool) {
        self.breaker.get_or_create(&of(queue)).set(open.into());
    }

    /// Jobs of a dead process were sent on their way again.
    pub fn rescued(&self, jobs: u64) {
        self.rescued.inc_by(jobs);
    }

    /// All of it as [`OPENMETRICS`], with whether the process is ready and, where it was asked,
    /// what the store holds.
    ///
    /// # Errors
    /// None that can be mended: those of writing into memory.
    pub fn exposition(&self, ready: bool, holding: Option<&Holding>) -> Result<String, fmt::Error> {
        let mut moment = Registry::with_prefix("longshore");
        let gauge = Gauge::<i64>::default();
        gauge.set(ready.into());
        moment.register("ready", "1 when this process can do its work", gauge);
        if let Some(holding) = holding {
            register(&mut moment, holding);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        // Each registry writes a mark of the end of its own.
        let end = text.strip_suffix("# EOF\n").map(str::len);
        text.truncate(end.unwrap_or(text.len()));
        encode(&mut text, &moment)?;
        Ok(text)
    }
}

fn register(registry: &mut Registry, holding: &Holding) {
    let jobs = Family::<OfState, Gauge<i64>>::default();
    let oldest = Family::<OfHeld, Gauge<f64, AtomicU64>>::default();
    for Held {
        queue,
        states,
        oldest_ready,
    } in &holding.queues
    {
        for (state, count) in states {
            let (queue, state) = (queue.clone(), state.clone());
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            jobs.get_or_create(&OfState { queue, state }).set(count);
        }
        let queue = queue.clone();
        oldest.get_or_create(&OfHeld { queue }).set(*oldest_ready);
    }
    registry.register(
        "jobs",
        "Jobs that the store holds and that have not come to a good end",
        jobs,
    );
    registry.register_with_unit(
        "oldest_ready",
        "For how long the oldest job that may run has waited",
        Unit::Seconds,
        oldest,
    );
    let unpublished = Gauge::<f64, AtomicU64>::default();
    unpublished.set(holding.oldest_unpublished);
    registry.register_with_unit(
        "oldest_unpublished",
        "For how long the oldest messages that nobody publishes have waited to be",
        Unit::Seconds,
        unpublished,
    );
}

fn of(queue: &QueueName) -> OfQueue {
    OfQueue {
        queue: queue.clone(),
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_passed_is_told() {
        let metrics = Metrics::default();
        let email: QueueName = "email".parse().unwrap();
        metrics.accepted(&email, 1);
        metrics.slots(&email, 64);
        let _still = metrics.run(&email);
        drop(metrics.run(&email));
        metrics.outcome(&email, "succeeded");
        metrics.breaker(&email, true);
        metrics.rescued(3);
        let held = Held {
            queue: "email".to_owned(),
            states: vec![("queued".to_owned(), 12)],
            oldest_ready: 1.5,
        };
        let holding = Holding {
            queues: vec![held],
            oldest_unpublished: 0.25,
        };
        let text = metrics.exposition(true, Some(&holding)).unwrap();
        for line in [
            "longshore_jobs_accepted_total{queue=\"email\"} 1",
            "longshore_job_slots{queue=\"email\"} 64",
            "longshore_jobs_running{queue=\"email\"} 1",
            "longshore_runs_total{queue=\"email\",outcome=\"succeeded\"} 1",
            "longshore_run_seconds_bucket{le=\"1740.0\",queue=\"email\"} 1",
            "longshore_breaker_open{queue=\"email\"} 1",
            "longshore_jobs_rescued_total 3",
            "longshore_ready 1",
            "longshore_jobs{queue=\"email\",state=\"queued\"} 12",
            "longshore_oldest_ready_seconds{queue=\"email\"} 1.5",
            "longshore_oldest_unpublished_seconds 0.25",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert_eq!(text.matches("# EOF").count(), 1, "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert!(
            !metrics
                .exposition(false, None)
                .unwrap()
                .contains("longshore_jobs{")
        );
    }
}
