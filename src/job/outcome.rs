use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{ErrorClass, JobError};

/// What a handler returns: `Ok(Done)`, or a [`Failure`] that says what should happen next.
pub type JobResult = Result<Done, Failure>;

/// A run that succeeded, with an optional result for whoever asks for the job.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Done {
    pub(crate) result: Option<Value>,
}

/// Success without a result, so that a handler can end in `Ok(Done)`.
#[expect(non_upper_case_globals, reason = "reads as the value of its type")]
pub const Done: Done = Done { result: None };

impl Done {
    /// Success with a result, shown as the job's `result`.
    ///
    /// # Errors
    /// A permanent [`Failure`] with code `unserializable_result`. The effect has happened by
    /// now, so running again would be wrong.
    pub fn with(result: impl Serialize) -> JobResult {
        match serde_json::to_value(result) {
            Ok(value) => Ok(Self {
                result: Some(value),
            }),
            Err(error) => Err(Failure::permanent("unserializable_result", error)),
        }
    }

    /// The result, if it has one.
    #[must_use]
    pub const fn result(&self) -> Option<&Value> {
        self.result.as_ref()
    }
}

/// A run that did not succeed. `?` on any error makes one that is retried.
///
/// | made by | the job | counts |
/// |---|---|---|
/// | `?`, [`Failure::retry`] | is tried again with backoff, and dead after `max_attempts` | yes |
/// | [`Failure::permanent`] | is dead at once | yes |
/// | [`Failure::unavailable`] | waits for what is down; so does its queue | no |
/// | [`Failure::waiting`] | asks again after a while | no |
///
/// Each has a `code`, stable and machine-readable, by which dead letters are found and grouped;
/// [`Failure::after`] says not before when.
///
/// Like `anyhow::Error` it is deliberately not a `std::error::Error`: only so can it be made
/// from every type that is.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub(crate) error: JobError,
    pub(crate) after: Option<Duration>,
    /// Whether the handler says it of something outside the platform: what circuit breakers
    /// count.
    pub(crate) outside: bool,
}

impl Failure {
    /// Try again later; counts an attempt.
    pub fn retry(code: &str, message: impl fmt::Display) -> Self {
        Self::of(ErrorClass::Retryable, code, &message)
    }

    /// Never try again: the job is a dead letter with this code.
    pub fn permanent(code: &str, message: impl fmt::Display) -> Self {
        Self::of(ErrorClass::Permanent, code, &message)
    }

    /// Something this job needs is down: wait for it; counts no attempt. Several in a row open
    /// the circuit breaker of the queue: its jobs wait, and one at a time looks whether it is back.
    /// Not for what is wrong with this one job.
    pub fn unavailable(code: &str, message: impl fmt::Display) -> Self {
        Self::of(ErrorClass::Unavailable, code, &message)
    }

    /// Ask again after `delay`: something outside that this job waits for is under way. Counts no
    /// attempt, and says of no dependency that it is down.
    pub fn waiting(code: &str, message: impl fmt::Display, delay: Duration) -> Self {
        Self::of(ErrorClass::Waiting, code, &message).after(delay)
    }

    /// Not before `delay` from now, when the retry policy alone would be earlier.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = Some(delay);
        self
    }

    /// Says nothing of what the handlers of its queue need: the platform itself puts the job off.
    pub(crate) fn inside(mut self) -> Self {
        self.outside = false;
        self
    }

    /// What went wrong, as it will be stored.
    #[must_use]
    pub const fn error(&self) -> &JobError {
        &self.error
    }

    fn of(class: ErrorClass, code: &str, message: &dyn fmt::Display) -> Self {
        Self {
            error: JobError::new(class, code, &message.to_string()),
            after: None,
            outside: true,
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::retry("error", message)
    }
}

/// How a run came to its end, as the runtime saw it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The handler returned `Ok`.
    Success(Done),
    /// The handler returned `Err`, panicked, or ran out of time: the error's class says which.
    Failure(Failure),
    /// The process is stopping; the run was cut off before its end.
    Interrupted,
    /// The job's cancellation was requested, and the run was cut off before its end.
    Cancelled,
}

impl From<JobResult> for Outcome {
    fn from(result: JobResult) -> Self {
        match result {
            Ok(done) => Self::Success(done),
            Err(failure) => Self::Failure(failure),
        }
    }
}

impl Outcome {
    /// What a run that succeeded returned.
    #[must_use]
    pub const fn result(&self) -> Option<&Value> {
        match self {
            Self::Success(done) => done.result.as_ref(),
            _ => None,
        }
    }

    /// Why a run failed: its error's class says what follows.
    #[must_use]
    pub const fn error(&self) -> Option<&JobError> {
        match self {
            Self::Failure(failure) => Some(&failure.error),
            _ => None,
        }
    }

    /// The code of that error.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.error().map(|error| error.code.as_str())
    }

    /// The least delay that a failure asks for.
    #[must_use]
    pub const fn delay(&self) -> Option<Duration> {
        match self {
            Self::Failure(failure) => failure.after,
            _ => None,
        }
    }

    /// The outcome of a handler that did not end within `limit`.
    #[must_use]
    pub fn timed_out(limit: Duration) -> Self {
        let message = format!("the handler did not end within {limit:?}");
        Self::Failure(Failure::of(ErrorClass::Timeout, "timeout", &message))
    }

    /// The outcome of a handler that panicked.
    #[must_use]
    pub fn panicked(message: &str) -> Self {
        Self::Failure(Failure::of(ErrorClass::Panic, "panic", &message))
    }

    /// The outcome of a payload that its kind cannot read.
    #[must_use]
    pub fn invalid(code: &str, message: &dyn fmt::Display) -> Self {
        Self::Failure(Failure::of(ErrorClass::Invalid, code, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_mark_means_retry_and_keeps_the_causes() {
        fn handler() -> JobResult {
            let _: u8 = "x".parse::<u8>()?;
            Ok(Done)
        }
        let failure = handler().unwrap_err();
        assert_eq!(failure.error.class, ErrorClass::Retryable);
        assert!(failure.error.message.contains("invalid digit"));
    }

    #[test]
    fn done_carries_a_result() {
        assert_eq!(Done::with(3).unwrap().result, Some(3.into()));
        assert_eq!(Done.result, None);
    }
}
