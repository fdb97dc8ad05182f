use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;

/// How long a job waits after a failed attempt, and how often it may fail.
///
/// This module is the only user of the `backoff` crate: exponential growth and its cap are
/// the crate's, the jitter is ours because the crate's cannot be seeded.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Counted failures after which the job is dead. At least 1.
    pub max_attempts: u32,
    /// The delay after the first failure.
    pub initial: Duration,
    /// Growth per failure. At least 1.
    pub multiplier: f64,
    /// The longest delay before jitter.
    pub max: Duration,
    /// Share of the delay that is random, 0 to 1: 0.5 spreads 10 s over 5 s to 15 s.
    pub jitter: f64,
}

impl RetryPolicy {
    /// The delay after failure number `attempt` (1-based), with `random` in `0.0..1.0`.
    ///
    /// Out-of-range arguments are clamped; the result is at most `max` × (1 + `jitter`).
    #[must_use]
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let spread = self.jitter.clamp(0.0, 1.0);
        let random = if random.is_finite() {
            random.clamp(0.0, 1.0)
        } else {
            0.5
        };
        self.base(attempt)
            .mul_f64(1.0 + spread * (2.0 * random - 1.0))
    }

    fn base(&self, attempt: u32) -> Duration {
        let cap = self.max.max(self.initial);
        let mut steps = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.initial)
            .with_multiplier(self.multiplier.max(1.0))
            .with_max_interval(cap)
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        let mut delay = self.initial;
        for _ in 0..attempt.max(1) {
            let next = steps.next_backoff().unwrap_or(cap);
            let settled = next == cap || (next == delay && self.multiplier <= 1.0);
            delay = next;
            // Attempts are unbounded, the growth is not: stop once nothing changes.
            if settled {
                break;
            }
        }
        delay
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 8,
            initial: Duration::from_secs(1),
            multiplier: 2.0,
            max: Duration::from_secs(600),
            jitter: 0.5,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy::default()
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let seconds = |n| policy().delay(n, 0.5).as_secs_f64();
        let delays: Vec<f64> = (1..=12).map(seconds).collect();
        let expected = [1., 2., 4., 8., 16., 32., 64., 128., 256., 512., 600., 600.];
        for (delay, want) in delays.iter().zip(expected) {
            assert!((delay - want).abs() < 1e-6, "{delays:?}");
        }
    }

    #[test]
    fn the_crates_fifteen_minute_limit_does_not_apply() {
        assert_eq!(policy().delay(u32::MAX, 0.5), Duration::from_secs(600));
    }

    #[test]
    fn a_multiplier_of_one_is_a_constant_delay() {
        let constant = RetryPolicy {
            multiplier: 1.0,
            jitter: 0.0,
            ..policy()
        };
        assert_eq!(constant.delay(u32::MAX, 0.9), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn every_delay_is_within_the_jitter_of_its_step(
            attempt in 1u32..40, random in 0.0f64..1.0, jitter in 0.0f64..=1.0,
            initial_ms in 1u64..10_000, multiplier in 1.0f64..5.0, max_s in 1u64..3600,
        ) {
            let policy = RetryPolicy {
                max_attempts: 8, initial: Duration::from_millis(initial_ms), multiplier,
                max: Duration::from_secs(max_s), jitter,
            };
            let cap = policy.max.max(policy.initial).as_secs_f64();
            let step = (initial_ms as f64 / 1e3 * multiplier.powi(attempt as i32 - 1)).min(cap);
            let delay = policy.delay(attempt, random).as_secs_f64();
            prop_assert!(delay >= step * (1.0 - jitter) * 0.999 - 1e-6, "{delay} under {step}");
            prop_assert!(delay <= step * (1.0 + jitter) * 1.001 + 1e-6, "{delay} over {step}");
        }

        #[test]
        fn no_argument_panics(attempt: u32, random: f64) {
            let _ = policy().delay(attempt, random);
        }
    }
}
