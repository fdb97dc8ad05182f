use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ErrorClass, JobError, State};

/// What keeps a job from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// Its time has not come.
    Scheduled,
    /// It failed and is tried again.
    Retrying,
    /// What it needs is down: it is tried again, and no attempt is counted.
    DependencyDown,
    /// It waits to be taken; nobody has looked further.
    Queued,
    /// Its queue is paused.
    QueuePaused,
    /// No live worker takes its kind.
    NoWorker,
    /// The broker has not confirmed it.
    AwaitingPublish,
    /// Others come first, or every worker is busy.
    Behind,
    /// Its worker has fallen silent; it runs again once that one is declared dead.
    OwnerLost,
    /// A reason of a later version.
    #[serde(other)]
    Other,
}

/// Why a job is not running now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingFor {
    /// For programs.
    pub reason: WaitReason,
    /// For people.
    pub message: String,
    /// When it may run, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// How many jobs of its queue come first, where that was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
}

impl WaitingFor {
    /// A reason and what to tell people.
    pub fn new(reason: WaitReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            until: None,
            behind: None,
        }
    }

    fn until(mut self, due: Option<DateTime<Utc>>) -> Self {
        self.until = due;
        self
    }
}

/// Why a job is not running now, as far as its row tells; `None` when it runs or has come to
/// its end.
///
/// `due` is when a waiting job may run; `error` is the job's last one, which is the reason for
/// the wait only where the job was put off.
#[must_use]
pub fn waiting_for(
    state: State,
    due: Option<DateTime<Utc>>,
    error: Option<&JobError>,
) -> Option<WaitingFor> {
    let when = |what: &str, preposition: &str| match due {
        Some(due) => {
            let due = due.to_rfc3339_opts(SecondsFormat::Secs, true);
            format!("{what} {preposition} {due}")
        }
        None => what.to_owned(),
    };
    let waiting = match state {
        State::Scheduled => WaitingFor::new(WaitReason::Scheduled, when("scheduled", "for")),
        State::Retrying => {
            let when = when("retrying", "at");
            match error.map(|error| (error.class, error)) {
                Some((ErrorClass::Unavailable, error)) => {
                    let message = format!("{when}: {error}");
                    WaitingFor::new(WaitReason::DependencyDown, message)
                }
                Some((ErrorClass::Waiting, error)) => {
                    WaitingFor::new(WaitReason::Retrying, format!("{when}: {error}"))
                }
                _ => WaitingFor::new(WaitReason::Retrying, when),
            }
        }
        State::Queued => WaitingFor::new(WaitReason::Queued, "waiting to be taken by a worker"),
        State::Running | State::Succeeded | State::Dead | State::Cancelled => return None,
    };
    Some(waiting.until(due))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_says_why_it_waits() {
        let due = DateTime::from_timestamp(1_700_000_000, 123_000_000);
        let refused = JobError::new(ErrorClass::Retryable, "smtp_451", "greylisted");
        let down = JobError::new(ErrorClass::Unavailable, "smtp_connect", "no route");
        let pending = JobError::new(ErrorClass::Waiting, "payment_processing", "not yet");
        let taken = "waiting to be taken by a worker";
        let table = [
            (
                State::Scheduled,
                None,
                Some((WaitReason::Scheduled, "scheduled for 2023-11-14T22:13:20Z")),
            ),
            (State::Queued, None, Some((WaitReason::Queued, taken))),
            (
                State::Queued,
                Some(&down),
                Some((WaitReason::Queued, taken)),
            ),
            (State::Running, Some(&refused), None),
            (
                State::Retrying,
                Some(&refused),
                Some((WaitReason::Retrying, "retrying at 2023-11-14T22:13:20Z")),
            ),
            (
                State::Retrying,
                Some(&down),
                Some((
                    WaitReason::DependencyDown,
                    "retrying at 2023-11-14T22:13:20Z: smtp_connect: no route",
                )),
            ),
            (
                State::Retrying,
                Some(&pending),
                Some((
                    WaitReason::Retrying,
                    "retrying at 2023-11-14T22:13:20Z: payment_processing: not yet",
                )),
            ),
            (State::Succeeded, None, None),
            (State::Dead, Some(&refused), None),
            (State::Cancelled, None, None),
        ];
        for (state, error, expected) in table {
            let waiting = waiting_for(state, due, error);
            let told = waiting.as_ref().map(|w| (w.reason, w.message.as_str()));
            assert_eq!(told, expected, "{state}");
            assert!(waiting.is_none_or(|waiting| waiting.until == due));
        }
    }

    #[test]
    fn a_reason_of_a_later_version_is_read() {
        let later = r#"{"reason": "moon_phase", "message": "full", "more": 1}"#;
        let read: WaitingFor = serde_json::from_str(later).unwrap();
        assert_eq!(read.reason, WaitReason::Other);
    }
}
