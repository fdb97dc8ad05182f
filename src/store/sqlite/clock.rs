//! The store's clock is this machine's: every process with the file open runs on it. In tests of
//! one process it is the test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};

/// The last moment that RFC 3339 can write: 9999-12-31T23:59:59.999999Z. Longer delays end here.
const LAST: i64 = 253_402_300_799_999_999;

/// What a store reads the time from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    /// The time of a clock that stands still, in microseconds since 1970-01-01 UTC; none for the
    /// machine's.
    by_hand: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// A clock that stands still at `now` until it is advanced. Its clones are the same clock.
    pub(crate) fn by_hand(now: DateTime<Utc>) -> Self {
        Self {
            by_hand: Some(Arc::new(AtomicI64::new(now.timestamp_micros()))),
        }
    }

    /// Moves a clock that stands still.
    pub(crate) fn advance(&self, by: Duration) {
        if let Some(time) = &self.by_hand {
            time.fetch_add(length(by), Ordering::SeqCst);
        }
    }

    /// What it says.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.micros()).unwrap_or_default()
    }

    /// Now, in microseconds since 1970-01-01 UTC. Read once a transaction. A clock that stands
    /// still goes on by one each time, so that later transactions have later times.
    pub(super) fn micros(&self) -> i64 {
        match &self.by_hand {
            None => Utc::now().timestamp_micros(),
            Some(time) => time.fetch_add(1, Ordering::SeqCst),
        }
    }
}

/// A stored time.
pub(super) fn moment(micros: i64) -> sqlx::Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| super::rows::corrupt(format!("{micros} is no time")))
}

/// The time that is `delay` after `now`.
pub(super) fn after(now: i64, delay: Duration) -> i64 {
    now.saturating_add(length(delay)).min(LAST)
}

/// The time that is `delay` before `now`.
pub(super) fn before(now: i64, delay: Duration) -> i64 {
    now.saturating_sub(length(delay))
}

/// The time from `since` to `now`; none when the machine's clock was set back meanwhile.
pub(super) fn elapsed(since: i64, now: i64) -> Duration {
    Duration::from_micros(now.saturating_sub(since).try_into().unwrap_or(0))
}

fn length(delay: Duration) -> i64 {
    i64::try_from(delay.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_delays_end_at_the_last_moment() {
        let now = Clock::default().micros();
        assert_eq!(after(now, Duration::MAX), LAST);
        assert_eq!(
            moment(LAST).unwrap().to_rfc3339(),
            "9999-12-31T23:59:59.999999+00:00"
        );
        assert!(before(now, Duration::MAX) < 0);
        assert_eq!(after(now, Duration::from_micros(7)), now + 7);
    }

    #[test]
    fn a_clock_that_was_set_back_is_no_time_at_all() {
        assert_eq!(elapsed(10, 4), Duration::ZERO);
        assert_eq!(elapsed(4, 10), Duration::from_micros(6));
    }
}
