use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    JobError, JobId, Kind, NewJob, Priority, ProgressView, QueueName, Start, State, WaitingFor,
    waiting_for,
};

/// A job as people and programs see it: the JSON of the API and of `--json`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// UUIDv7.
    pub id: JobId,
    /// What it does.
    pub kind: Kind,
    /// Where it waits.
    pub queue: QueueName,
    /// Where it stands.
    pub state: State,
    /// As submitted, or as last edited.
    #[schemars(with = "serde_json::Value")]
    pub payload: Box<RawValue>,
    /// As submitted, if it was edited since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub original_payload: Option<Box<RawValue>>,
    /// When it was edited last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<DateTime<Utc>>,
    /// Who edited it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_by: Option<String>,
    /// Its lane.
    pub priority: Priority,
    /// Free labels.
    pub tags: Vec<String>,
    /// The number of the current or last run; 0 before the first.
    pub attempt: u32,
    /// The job's own limit, or its queue's if this process knows the queue.
    pub max_attempts: Option<u32>,
    /// Not before this moment: the schedule, or the next retry.
    pub run_at: Option<DateTime<Utc>>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When the current or last run began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it came to its end.
    pub finished_at: Option<DateTime<Utc>>,
    /// What the handler returned.
    #[schemars(with = "serde_json::Value")]
    pub result: Option<Box<RawValue>>,
    /// Why it failed last, or why it was put off.
    pub error: Option<JobError>,
    /// Equal for dead jobs of one cause: of the same kind, with the same code and shape of
    /// message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// True if its worker is asked to stop it.
    #[serde(default)]
    pub cancel_requested: bool,
    /// How far the run that is under way has come, as its handler says; `null` when it says
    /// nothing, and once the run has ended.
    #[serde(default)]
    pub progress: Option<ProgressView>,
    /// Failed runs that counted, and the success as the last one. Left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<AttemptView>>,
    /// Why it is not running now.
    pub waiting_for: Option<WaitingFor>,
}

impl JobView {
    /// Its attempts; none in a list.
    #[must_use]
    pub fn attempts(&self) -> &[AttemptView] {
        self.attempts.as_deref().unwrap_or_default()
    }

    /// A job as it stands right after its acceptance.
    ///
    /// # Errors
    /// When the payload is not JSON.
    pub fn accepted(
        job: &NewJob,
        created_at: DateTime<Utc>,
        state: State,
    ) -> Result<Self, serde_json::Error> {
        let due = match job.start {
            _ if state != State::Scheduled => None,
            Start::Now => None,
            Start::At(at) => Some(at),
            Start::After(delay) => chrono::Duration::from_std(delay)
                .ok()
                .and_then(|delay| created_at.checked_add_signed(delay)),
        };
        Ok(Self {
            id: job.id,
            kind: job.kind.clone(),
            queue: job.queue.clone(),
            state,
            payload: serde_json::from_slice(&job.payload)?,
            original_payload: None,
            edited_at: None,
            edited_by: None,
            priority: job.priority,
            tags: job.tags.clone(),
            attempt: 0,
            max_attempts: job.max_attempts,
            run_at: due,
            created_at,
            started_at: None,
            finished_at: None,
            result: None,
            error: None,
            fingerprint: None,
            cancel_requested: false,
            progress: None,
            attempts: Some(Vec::new()),
            waiting_for: waiting_for(state, due, None),
        })
    }
}

/// One run of a job.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AttemptView {
    /// 1-based.
    pub number: u32,
    /// The process that ran it, as `host/pid`.
    pub worker: Option<String>,
    /// When it began, by the store's clock.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended, by the store's clock.
    pub finished_at: DateTime<Utc>,
    /// `succeeded` or `failed`.
    pub outcome: String,
    /// Why it failed.
    pub error: Option<JobError>,
}
