use std::time::Duration;

use serde_json::Value;

use super::{ErrorClass, JobError, Outcome, RetryPolicy, State};

/// The facts about a run that its ending depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The number of this run, 1-based: counted failures so far, plus one.
    pub attempt: u32,
    /// Counted failures after which the job is dead: the job's own limit or the policy's.
    pub max_attempts: u32,
}

/// What becomes of a running job. The store applies it; nothing else moves a running job.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Transition {
    /// To `succeeded`.
    Succeed {
        /// Kept with the job.
        result: Option<Value>,
    },
    /// To `retrying`; the failure counts and is kept as an attempt.
    Retry {
        /// Why.
        error: JobError,
        /// From now until it is due.
        after: Duration,
    },
    /// To `retrying`, with no attempt counted: it is not the job's fault.
    Postpone {
        /// Why.
        error: JobError,
        /// From now until it is due.
        after: Duration,
    },
    /// To `dead`; the failure is kept as an attempt.
    Die {
        /// Why.
        error: JobError,
    },
    /// Back to `queued` under the same dispatch, at high priority, with nothing counted.
    HandBack,
    /// To `cancelled`, by request.
    Cancel {
        /// The failure that the run ended in before it was stopped; it counts and is kept as an
        /// attempt.
        failure: Option<JobError>,
    },
}

impl Transition {
    /// The state that the job will be in.
    #[must_use]
    pub const fn target(&self) -> State {
        match self {
            Self::Succeed { .. } => State::Succeeded,
            Self::Retry { .. } | Self::Postpone { .. } => State::Retrying,
            Self::Die { .. } => State::Dead,
            Self::HandBack => State::Queued,
            Self::Cancel { .. } => State::Cancelled,
        }
    }

    /// What becomes of the job if its cancellation was requested meanwhile: an end that the run
    /// came to first wins; whatever would run it again does not.
    #[must_use]
    pub fn under_cancellation(self) -> Self {
        match self {
            Self::Succeed { .. } | Self::Die { .. } | Self::Cancel { .. } => self,
            Self::Retry { error, .. } => Self::Cancel {
                failure: Some(error),
            },
            Self::Postpone { .. } | Self::HandBack => Self::Cancel { failure: None },
        }
    }

    /// The error that comes with it.
    #[must_use]
    pub const fn error(&self) -> Option<&JobError> {
        match self {
            Self::Retry { error, .. } | Self::Postpone { error, .. } | Self::Die { error } => {
                Some(error)
            }
            Self::Cancel { failure } => failure.as_ref(),
            Self::Succeed { .. } | Self::HandBack => None,
        }
    }
}

/// Decides what becomes of a job after a run.
///
/// `cooldown` is how long an unavailable dependency is left alone, and `random` is in
/// `0.0..1.0`. A failure's own `after` is a lower bound, never a shortcut.
#[must_use]
pub fn decide(
    outcome: Outcome,
    run: Run,
    policy: &RetryPolicy,
    cooldown: Duration,
    random: f64,
) -> Transition {
    let failure = match outcome {
        Outcome::Success(done) => {
            return Transition::Succeed {
                result: done.result,
            };
        }
        Outcome::Interrupted => return Transition::HandBack,
        Outcome::Cancelled => return Transition::Cancel { failure: None },
        Outcome::Failure(failure) => failure,
    };
    let not_before = |delay: Duration| failure.after.unwrap_or_default().max(delay);
    match failure.error.class {
        ErrorClass::Permanent | ErrorClass::Invalid => Transition::Die {
            error: failure.error,
        },
        ErrorClass::Unavailable => Transition::Postpone {
            // Spread over one to two cool-downs, so that what waited together does not
            // come back together.
            after: not_before(cooldown.mul_f64(1.0 + random.clamp(0.0, 1.0))),
            error: failure.error,
        },
        ErrorClass::Waiting => Transition::Postpone {
            after: failure.after.unwrap_or(cooldown),
            error: failure.error,
        },
        ErrorClass::Retryable | ErrorClass::Timeout | ErrorClass::Panic => {
            if run.attempt >= run.max_attempts {
                Transition::Die {
                    error: failure.error,
                }
            } else {
                Transition::Retry {
                    after: not_before(policy.delay(run.attempt, random)),
                    error: failure.error,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::job::{Done, Failure};

    const COOLDOWN: Duration = Duration::from_secs(10);

    fn decided(outcome: Outcome, attempt: u32, max_attempts: u32) -> Transition {
        let policy = RetryPolicy {
            jitter: 0.0,
            ..RetryPolicy::default()
        };
        decide(
            outcome,
            Run {
                attempt,
                max_attempts,
            },
            &policy,
            COOLDOWN,
            0.0,
        )
    }

    #[test]
    fn every_outcome_has_its_transition() {
        let retry = || Failure::retry("x", "y");
        let seconds = Duration::from_secs;
        let table: Vec<(&str, Outcome, u32, State, Option<Duration>)> = vec![
            ("success", Outcome::Success(Done), 1, State::Succeeded, None),
            ("cut off", Outcome::Interrupted, 3, State::Queued, None),
            (
                "stopped by request",
                Outcome::Cancelled,
                3,
                State::Cancelled,
                None,
            ),
            (
                "first failure",
                Err(retry()).into(),
                1,
                State::Retrying,
                Some(seconds(1)),
            ),
            (
                "second failure",
                Err(retry()).into(),
                2,
                State::Retrying,
                Some(seconds(2)),
            ),
            ("last failure", Err(retry()).into(), 3, State::Dead, None),
            ("past the last", Err(retry()).into(), 4, State::Dead, None),
            (
                "asked for later",
                Err(retry().after(seconds(60))).into(),
                1,
                State::Retrying,
                Some(seconds(60)),
            ),
            (
                "asked for sooner",
                Err(retry().after(seconds(1))).into(),
                2,
                State::Retrying,
                Some(seconds(2)),
            ),
            (
                "timeout",
                Outcome::timed_out(seconds(5)),
                1,
                State::Retrying,
                Some(seconds(1)),
            ),
            ("panic", Outcome::panicked("boom"), 3, State::Dead, None),
            (
                "permanent",
                Err(Failure::permanent("x", "y")).into(),
                1,
                State::Dead,
                None,
            ),
            ("invalid", Outcome::invalid("x", &"y"), 1, State::Dead, None),
            (
                "unavailable",
                Err(Failure::unavailable("x", "y")).into(),
                3,
                State::Retrying,
                Some(COOLDOWN),
            ),
            (
                "under way",
                Err(Failure::waiting("x", "y", seconds(2))).into(),
                3,
                State::Retrying,
                Some(seconds(2)),
            ),
        ];
        for (name, outcome, attempt, state, after) in table {
            let transition = decided(outcome, attempt, 3);
            assert_eq!(transition.target(), state, "{name}");
            let delay = match transition {
                Transition::Retry { after, .. } | Transition::Postpone { after, .. } => Some(after),
                _ => None,
            };
            assert_eq!(delay, after, "{name}");
        }
    }

    #[test]
    fn an_end_that_comes_first_wins_over_a_cancellation() {
        let error = || JobError::new(ErrorClass::Retryable, "x", "y");
        let after = COOLDOWN;
        let succeed = Transition::Succeed {
            result: Some(1.into()),
        };
        let die = Transition::Die { error: error() };
        let cancel = |failure| Transition::Cancel { failure };
        let retry = Transition::Retry {
            error: error(),
            after,
        };
        let postpone = Transition::Postpone {
            error: error(),
            after,
        };
        for (came, expected) in [
            (succeed.clone(), succeed),
            (die.clone(), die),
            (retry, cancel(Some(error()))),
            (postpone, cancel(None)),
            (Transition::HandBack, cancel(None)),
            (cancel(None), cancel(None)),
        ] {
            let what = format!("{came:?}");
            let becomes = came.under_cancellation();
            assert!(State::Running.may_become(becomes.target()));
            assert_eq!(becomes, expected, "{what}");
        }
    }

    #[test]
    fn an_outage_never_counts() {
        let transition = decided(Err(Failure::unavailable("x", "y")).into(), 99, 3);
        assert!(matches!(transition, Transition::Postpone { .. }));
    }

    proptest! {
        #[test]
        fn every_decision_is_a_legal_move_and_only_exhaustion_or_permanence_kills(
            class in prop_oneof![
                Just(ErrorClass::Retryable), Just(ErrorClass::Timeout), Just(ErrorClass::Panic),
                Just(ErrorClass::Permanent), Just(ErrorClass::Unavailable), Just(ErrorClass::Waiting),
                Just(ErrorClass::Invalid),
            ],
            attempt in 1u32..20, max_attempts in 1u32..20, random in 0.0f64..1.0,
            after in proptest::option::of(0u64..10_000),
        ) {
            let failure = Failure { error: JobError::new(class, "c", "m"), after: after.map(Duration::from_secs), outside: true };
            let transition = decide(
                Outcome::Failure(failure), Run { attempt, max_attempts },
                &RetryPolicy::default(), COOLDOWN, random,
            );
            prop_assert!(State::Running.may_become(transition.target()));
            let counted = matches!(class, ErrorClass::Retryable | ErrorClass::Timeout | ErrorClass::Panic);
            let fatal = matches!(class, ErrorClass::Permanent | ErrorClass::Invalid);
            prop_assert_eq!(
                transition.target() == State::Dead,
                fatal || (counted && attempt >= max_attempts)
            );
        }
    }
}
