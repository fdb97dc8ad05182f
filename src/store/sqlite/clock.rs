//! The store's clock is this machine's: every process with the file open runs on it.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// The last moment that RFC 3339 can write: 9999-12-31T23:59:59.999999Z. Longer delays end here.
const LAST: i64 = 253_402_300_799_999_999;

/// Now, in microseconds since 1970-01-01 UTC. Read once a transaction.
pub(super) fn micros() -> i64 {
    Utc::now().timestamp_micros()
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
        let now = micros();
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
