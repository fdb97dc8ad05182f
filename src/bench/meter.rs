use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::latency::Times;
use crate::job::JobId;

/// Counts starts and ends in a process that runs jobs. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    started: u64,
    done: u64,
    first: Option<u64>,
    last: Option<u64>,
    /// When jobs that are timed were due to be submitted, until they are done.
    due: HashMap<JobId, u64>,
    start: Times,
    end: Times,
}

/// What a [`Meter`] has counted. Moments are microseconds since 1970 on this machine's clock, so
/// that those of several processes can be compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Handlers that have begun.
    pub started: u64,
    /// Jobs whose end is recorded.
    pub done: u64,
    /// The first beginning.
    pub first: Option<u64>,
    /// The last end.
    pub last: Option<u64>,
}

impl Reading {
    /// What both have counted.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let either = |one: Option<u64>, two: Option<u64>, choose: fn(u64, u64) -> u64| match two {
            Some(two) => Some(one.map_or(two, |one| choose(one, two))),
            None => one,
        };
        Self {
            started: self.started + other.started,
            done: self.done + other.done,
            first: either(self.first, other.first, u64::min),
            last: either(self.last, other.last, u64::max),
        }
    }

    /// From a moment, or else from the first beginning, to the last end.
    #[must_use]
    pub fn seconds(&self, since: Option<u64>) -> f64 {
        let span = since.or(self.first).zip(self.last);
        span.map_or(0.0, |(first, last)| last.saturating_sub(first) as f64 / 1e6)
    }
}

/// How long the jobs of a [`Meter`] took whose submission was due at a known moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Timings {
    /// From then to the beginning of the handler.
    pub(super) start: Times,
    /// From then to the commit of the end.
    pub(super) end: Times,
}

impl Timings {
    pub(super) fn add_all(&mut self, other: &Self) {
        self.start.add_all(&other.start);
        self.end.add_all(&other.end);
    }
}

impl Meter {
    /// A handler begins. `due`: see [`Noop::at`](super::Noop::at).
    pub fn started(&self, job: JobId, due: Option<u64>) {
        let mut state = self.lock();
        state.started += 1;
        state.first.get_or_insert_with(now);
        if let Some(due) = due {
            state.start.add(now().saturating_sub(due));
            state.due.insert(job, due);
        }
    }

    /// A job's end is recorded.
    pub fn done(&self, job: JobId) {
        let mut state = self.lock();
        state.done += 1;
        state.last = Some(now());
        if let Some(due) = state.due.remove(&job) {
            state.end.add(now().saturating_sub(due));
        }
    }

    /// What was counted since the last reset.
    #[must_use]
    pub fn read(&self) -> Reading {
        let state = self.lock();
        Reading {
            started: state.started,
            done: state.done,
            first: state.first,
            last: state.last,
        }
    }

    /// How long those of them took whose submission was due at a known moment.
    #[must_use]
    pub fn timings(&self) -> Timings {
        let state = self.lock();
        Timings {
            start: state.start.clone(),
            end: state.end.clone(),
        }
    }

    /// Counts from 0.
    pub fn reset(&self) {
        *self.lock() = State::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Microseconds since 1970 on this machine's clock: all processes of a bench are on it.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros().try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_timed_from_when_it_was_due_and_counted_without() {
        let meter = Meter::default();
        let (timed, untimed) = (JobId::new(), JobId::new());
        meter.started(timed, Some(now() - 5_000));
        meter.started(untimed, None);
        meter.done(untimed);
        meter.done(timed);
        let read = meter.read();
        assert_eq!((read.started, read.done), (2, 2));
        let timings = meter.timings();
        let (start, end) = (timings.start.latency(), timings.end.latency());
        assert_eq!((start.count, end.count), (1, 1));
        assert!(start.max >= 5.0 && end.max >= start.max);
        meter.reset();
        assert_eq!(meter.read(), Reading::default());
    }

    #[test]
    fn readings_of_several_processes_add_up_from_the_first_to_the_last() {
        let of = |first, last| Reading {
            started: 3,
            done: 2,
            first,
            last,
        };
        let idle = of(None, None);
        let both = of(Some(5_000_000), Some(7_000_000))
            .and(of(Some(4_000_000), Some(6_500_000)))
            .and(idle);
        assert_eq!((both.started, both.done), (9, 6));
        assert!((both.seconds(None) - 3.0).abs() < 1e-9);
        assert!((both.seconds(Some(2_000_000)) - 5.0).abs() < 1e-9);
        assert!(idle.seconds(None).abs() < 1e-9);
    }
}
