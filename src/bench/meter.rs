use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::latency::{Latency, Times};
use crate::job::JobId;

/// Counts starts and ends in a process that runs jobs. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    started: u64,
    done: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    /// When jobs that are timed were due to be submitted, until they are done.
    due: HashMap<JobId, u64>,
    start: Times,
    end: Times,
}

/// What a [`Meter`] has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Handlers that have begun.
    pub started: u64,
    /// Jobs whose end is recorded.
    pub done: u64,
    /// From the first beginning to the last end.
    pub seconds: f64,
    /// From when a job was due to be submitted to the beginning of its handler.
    pub start: Latency,
    /// From when a job was due to be submitted to the commit of its end.
    pub end: Latency,
}

impl Meter {
    /// A handler begins. `due`: see [`Noop::at`](super::Noop::at).
    pub fn started(&self, job: JobId, due: Option<u64>) {
        let mut state = self.lock();
        state.started += 1;
        state.first.get_or_insert_with(Instant::now);
        if let Some(due) = due {
            state.start.add(now().saturating_sub(due));
            state.due.insert(job, due);
        }
    }

    /// A job's end is recorded.
    pub fn done(&self, job: JobId) {
        let mut state = self.lock();
        state.done += 1;
        state.last = Some(Instant::now());
        if let Some(due) = state.due.remove(&job) {
            state.end.add(now().saturating_sub(due));
        }
    }

    /// What was counted since the last reset.
    #[must_use]
    pub fn read(&self) -> Reading {
        let state = self.lock();
        let span = state.first.zip(state.last);
        Reading {
            started: state.started,
            done: state.done,
            seconds: span.map_or(0.0, |(first, last)| (last - first).as_secs_f64()),
            start: state.start.latency(),
            end: state.end.latency(),
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
        assert_eq!((read.start.count, read.end.count), (1, 1));
        assert!(read.start.max >= 5.0 && read.end.max >= read.start.max);
        meter.reset();
        assert_eq!(meter.read(), Reading::default());
    }
}
