use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::job::{JobError, JobId, Kind, QueueName};
use crate::store::Report;
use crate::telemetry::{Metrics, RunTimer};

/// How far back rates look.
const WINDOW: Duration = Duration::from_secs(30);

/// What passes through this process, by queue: how many jobs it accepted and brought to an end,
/// and what it could run. Counters in memory; a loop of the relay reports their rates, and
/// whoever scrapes the process reads its metrics.
#[derive(Debug, Default)]
pub struct Flow {
    streams: Mutex<BTreeMap<QueueName, Stream>>,
    metrics: Arc<Metrics>,
    /// Whoever measures ends.
    ends: OnceLock<mpsc::UnboundedSender<JobId>>,
}

#[derive(Debug)]
struct Stream {
    kinds: Vec<Kind>,
    capacity: u32,
    /// State and reason.
    breaker: (&'static str, Option<JobError>),
    passed: Passed,
    /// What had passed at earlier moments, the oldest first; the newest one that is older than
    /// the window is kept.
    samples: VecDeque<(Instant, Passed)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Passed {
    accepted: u64,
    finished: u64,
}

impl Flow {
    /// Nothing has passed yet; tells these metrics too.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            streams: Mutex::default(),
            metrics,
            ends: OnceLock::new(),
        }
    }

    /// This process runs these kinds of a queue, so many at once.
    pub fn works(&self, queue: &QueueName, kinds: Vec<Kind>, capacity: u32) {
        self.metrics.slots(queue, capacity);
        self.change(queue, |stream| {
            stream.kinds = kinds;
            stream.capacity = capacity;
        });
    }

    /// The queue's circuit breaker in this process changed to this state, for this reason.
    pub fn breaker(&self, queue: &QueueName, state: &'static str, error: Option<JobError>) {
        self.metrics.breaker(queue, state != "closed");
        self.change(queue, |stream| stream.breaker = (state, error));
    }

    /// Jobs were accepted.
    pub fn accepted(&self, queue: &QueueName, jobs: u64) {
        self.metrics.accepted(queue, jobs);
        self.change(queue, |stream| stream.passed.accepted += jobs);
    }

    /// A job came to its end, which is recorded.
    pub fn finished(&self, queue: &QueueName, job: JobId) {
        self.change(queue, |stream| stream.passed.finished += 1);
        if let Some(ends) = self.ends.get() {
            // Whoever asked may have left.
            let _ = ends.send(job);
        }
    }

    /// Every job that comes to its end here from now on. Only the first who asks is told.
    pub fn ends(&self) -> mpsc::UnboundedReceiver<JobId> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let _ = self.ends.set(sender);
        receiver
    }

    /// A handler starts to run; it ends when the timer is dropped.
    #[must_use]
    pub fn run(&self, queue: &QueueName) -> RunTimer {
        self.metrics.run(queue)
    }

    /// What became of a job whose run ended here.
    pub fn outcome(&self, queue: &QueueName, outcome: &'static str) {
        self.metrics.outcome(queue, outcome);
    }

    /// Jobs of a dead process were sent on their way again.
    pub fn rescued(&self, jobs: u64) {
        self.metrics.rescued(jobs);
    }

    fn change(&self, queue: &QueueName, change: impl FnOnce(&mut Stream)) {
        let mut streams = self.lock();
        match streams.get_mut(queue) {
            Some(stream) => change(stream),
            None => change(
                streams
                    .entry(queue.clone())
                    .or_insert_with(|| Stream::since(Instant::now())),
            ),
        }
    }

    /// What is to be told at `now`.
    pub fn reports(&self, now: Instant) -> Vec<Report> {
        self.lock()
            .iter_mut()
            .map(|(queue, stream)| {
                let (accepted, finished) = stream.rates(now);
                Report {
                    queue: queue.clone(),
                    kinds: stream.kinds.clone(),
                    capacity: stream.capacity,
                    breaker: stream.breaker.0.to_owned(),
                    breaker_error: stream.breaker.1.clone(),
                    accepted,
                    finished,
                }
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<QueueName, Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// Nothing has passed yet: what passes before the first report counts in it.
    fn since(start: Instant) -> Self {
        Self {
            kinds: Vec::new(),
            capacity: 0,
            breaker: ("closed", None),
            passed: Passed::default(),
            samples: VecDeque::from([(start, Passed::default())]),
        }
    }

    fn rates(&mut self, now: Instant) -> (f64, f64) {
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now - *at >= WINDOW)
        {
            self.samples.pop_front();
        }
        let rates = match self.samples.front() {
            Some((since, then)) => {
                let seconds = now.saturating_duration_since(*since).as_secs_f64().max(1.0);
                let rate = |now: u64, then: u64| hundredths((now - then) as f64 / seconds);
                (
                    rate(self.passed.accepted, then.accepted),
                    rate(self.passed.finished, then.finished),
                )
            }
            None => (0.0, 0.0),
        };
        self.samples.push_back((now, self.passed));
        rates
    }
}

fn hundredths(rate: f64) -> f64 {
    (rate * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(flow: &Flow, now: Instant) -> (f64, f64) {
        let reports = flow.reports(now);
        (reports[0].accepted, reports[0].finished)
    }

    #[test]
    fn rates_are_those_of_the_window() {
        let flow = Flow::default();
        let email: QueueName = "email".parse().unwrap();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        flow.works(&email, vec!["email.send".parse().unwrap()], 4);
        flow.accepted(&email, 12);
        flow.accepted(&email, 8);
        flow.finished(&email, JobId::new());
        assert_eq!(told(&flow, at(10)), (2.0, 0.1));
        assert_eq!(told(&flow, at(25)), (0.8, 0.04));
        assert_eq!(told(&flow, at(70)), (0.0, 0.0), "long ago");
        assert_eq!(flow.reports(at(71))[0].capacity, 4);
        let mut last = Vec::new();
        for second in 72..1_000 {
            last = flow.reports(at(second));
        }
        assert_eq!(last.len(), 1);
        assert!(flow.lock()[&email].samples.len() < 40, "bounded");
    }
}
