use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{JobFilter, OutboxEntry};

/// The longest pause between two steps, whatever the rate.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// The identity of an operation: a UUIDv7, so that ids sort by creation time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct OperationId(Uuid);

impl OperationId {
    /// A fresh id.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "an id is never a default")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id as the store keeps it.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for OperationId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for OperationId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// What an operation does to the jobs it was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Sends dead or cancelled jobs back to their queues.
    Requeue,
    /// Removes dead jobs.
    Purge,
    /// Cancels a live job.
    Cancel,
}

impl Action {
    /// The action's name, as in the API and the stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requeue => "requeue",
            Self::Purge => "purge",
            Self::Cancel => "cancel",
        }
    }

    /// The action of a stored name, if it is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Requeue, Self::Purge, Self::Cancel]
            .into_iter()
            .find(|action| action.as_str() == name)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// Some process executes it, or will within seconds.
    Running,
    /// Stopped until somebody resumes it.
    Paused,
    /// All of it is done.
    Done,
    /// Stopped for good; what was done stays done.
    Cancelled,
}

impl OperationState {
    const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Done, Self::Cancelled];

    /// The number that the stores keep. Part of the schema: never renumber.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Running => 0,
            Self::Paused => 1,
            Self::Done => 2,
            Self::Cancelled => 3,
        }
    }

    /// Where an operation with this stored number stands, if it is one.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// The name, as in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    /// True once nothing more will be done.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }

    /// Where a command leads from here; `None` where it cannot be followed any more. Asking
    /// for what is so already changes nothing.
    #[must_use]
    pub const fn after(self, command: OperationCommand) -> Option<Self> {
        match (self, command) {
            (Self::Running | Self::Paused, OperationCommand::Pause) => Some(Self::Paused),
            (Self::Running | Self::Paused, OperationCommand::Resume) => Some(Self::Running),
            (Self::Running | Self::Paused | Self::Cancelled, OperationCommand::Cancel) => {
                Some(Self::Cancelled)
            }
            (Self::Done | Self::Cancelled, _) => None,
        }
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What can be done about an operation that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationCommand {
    /// Stop after the batch under way, until it is resumed.
    Pause,
    /// Go on.
    Resume,
    /// Stop for good.
    Cancel,
}

/// An operation to be begun.
#[derive(Debug, Clone)]
pub struct NewOperation {
    /// Made by whoever begins it; the same id again is the same operation.
    pub id: OperationId,
    /// What to do.
    pub action: Action,
    /// To which of the dead jobs.
    pub filter: JobFilter,
    /// To how many of them at most, oldest first.
    pub limit: Option<u64>,
    /// Jobs a second at most.
    pub rate: Option<f64>,
    /// Who asked: the name of an API key, or `cli:USER`.
    pub created_by: String,
}

/// What an operator did or does to jobs: durable, executed in batches by whichever process has
/// the time, and kept as the record of who did what and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    /// UUIDv7.
    pub id: OperationId,
    /// What is done.
    pub action: Action,
    /// Where it stands.
    pub state: OperationState,
    /// To which jobs. `null` if that cannot be read, as when a newer version of this program began
    /// it: this one takes no step of it.
    pub filter: Option<JobFilter>,
    /// To how many of them at most, oldest first.
    pub limit: Option<u64>,
    /// Jobs a second at most.
    pub rate: Option<f64>,
    /// Who asked.
    pub created_by: String,
    /// When. Jobs that came to their end later are not touched.
    pub created_at: DateTime<Utc>,
    /// Who paused, resumed or cancelled it last.
    pub changed_by: Option<String>,
    /// When.
    pub changed_at: Option<DateTime<Utc>>,
    /// When it was done or cancelled.
    pub finished_at: Option<DateTime<Utc>>,
    /// Jobs that matched when it began, at most `limit`.
    pub matched: u64,
    /// Jobs that it was done to.
    pub done: u64,
    /// Jobs that somebody else dealt with while it ran.
    pub skipped: u64,
    /// Jobs that it could not be done to.
    pub failed: u64,
}

impl NewOperation {
    /// For the record.
    pub(super) fn detail(&self, matched: u64) -> serde_json::Value {
        serde_json::json!({
            "operation": self.id, "filter": self.filter, "limit": self.limit, "rate": self.rate,
            "matched": matched,
        })
    }
}

/// How long an operation is put off whose step has failed.
pub(super) const PUT_OFF: Duration = Duration::from_secs(5);

impl Operation {
    /// Which jobs its next step is about.
    ///
    /// # Errors
    /// What cannot be read.
    pub(super) fn readable_filter(&self) -> Result<&JobFilter, String> {
        let filter = self.filter.as_ref();
        filter.ok_or_else(|| format!("the filter of operation {}", self.id))
    }

    /// Jobs of its next step: at most what its limit leaves, and what its rate allows in a
    /// second.
    pub(super) fn next_batch(&self, batch: u32) -> u32 {
        let left = self.limit.map_or(u64::MAX, |limit| {
            limit.saturating_sub(self.done + self.failed)
        });
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates"
        )]
        let in_a_second = self
            .rate
            .map_or(u32::MAX, |rate| rate.ceil().max(1.0) as u32);
        batch
            .min(in_a_second)
            .min(u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// True if this many more jobs use up its limit.
    pub(super) fn is_used_up(&self, more: u64) -> bool {
        self.limit
            .is_some_and(|limit| self.done + self.failed + more >= limit)
    }

    /// How long its rate asks it to pause after this many jobs.
    pub(super) fn pause_after(&self, jobs: u64) -> Option<Duration> {
        let pause = jobs as f64 / self.rate?;
        Some(
            Duration::try_from_secs_f64(pause)
                .unwrap_or(LONGEST_PAUSE)
                .min(LONGEST_PAUSE),
        )
    }
}

/// Who takes a step, and how far it may go.
#[derive(Debug, Clone, Copy)]
pub struct StepBy {
    /// Whoever holds an operation between its steps.
    pub executor: Uuid,
    /// Jobs at most.
    pub batch: u32,
    /// How long the operation is then left to this executor.
    pub hold: Duration,
    /// How long the outbox entry is left to it.
    pub lease: Duration,
}

/// One step of an operation.
#[derive(Debug, Clone)]
pub struct Advance {
    /// As it stands after the step.
    pub operation: Operation,
    /// Jobs that the step sent back (or that the step before did, whose executor died before
    /// they were published), leased to the caller.
    pub entry: Option<OutboxEntry>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_this_table() {
        use OperationState::{Cancelled, Done, Paused, Running};
        for (from, pause, resume, cancel) in [
            (Running, Some(Paused), Some(Running), Some(Cancelled)),
            (Paused, Some(Paused), Some(Running), Some(Cancelled)),
            (Done, None, None, None),
            (Cancelled, None, None, Some(Cancelled)),
        ] {
            assert_eq!(from.after(OperationCommand::Pause), pause, "{from}");
            assert_eq!(from.after(OperationCommand::Resume), resume, "{from}");
            assert_eq!(from.after(OperationCommand::Cancel), cancel, "{from}");
        }
    }

    #[test]
    fn names_and_codes_round_trip() {
        for state in OperationState::ALL {
            assert_eq!(OperationState::from_code(state.code()), Some(state));
        }
        for action in [Action::Requeue, Action::Purge, Action::Cancel] {
            assert_eq!(Action::from_name(action.as_str()), Some(action));
        }
    }
}
