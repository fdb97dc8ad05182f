//! Who did what, when: a row for every deed of an operator, written in the deed's own
//! transaction.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreResult;

/// How long it is kept who did what.
pub(super) const KEPT: Duration = Duration::from_secs(400 * 24 * 3600);

/// What is said of a deed on one job.
pub(super) fn one_job(edited: bool) -> serde_json::Value {
    match edited {
        true => serde_json::json!({"edited": true}),
        false => serde_json::json!({}),
    }
}

/// What operators do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Deed {
    /// Sent jobs back.
    Requeue,
    /// Removed dead letters for good.
    Purge,
    /// Cancelled a job.
    Cancel,
    /// Brought exported dead letters back.
    Import,
    /// Paused a queue.
    PauseQueue,
    /// Resumed a queue.
    ResumeQueue,
    /// Paused an operation.
    PauseOperation,
    /// Let an operation go on.
    ResumeOperation,
    /// Stopped an operation for good.
    CancelOperation,
    /// Made an API key.
    CreateKey,
    /// Revoked an API key.
    RevokeKey,
}

impl Deed {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Requeue,
        Self::Purge,
        Self::Cancel,
        Self::Import,
        Self::PauseQueue,
        Self::ResumeQueue,
        Self::PauseOperation,
        Self::ResumeOperation,
        Self::CancelOperation,
        Self::CreateKey,
        Self::RevokeKey,
    ];

    /// The name, as in the API and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requeue => "requeue",
            Self::Purge => "purge",
            Self::Cancel => "cancel",
            Self::Import => "import",
            Self::PauseQueue => "pause_queue",
            Self::ResumeQueue => "resume_queue",
            Self::PauseOperation => "pause_operation",
            Self::ResumeOperation => "resume_operation",
            Self::CancelOperation => "cancel_operation",
            Self::CreateKey => "create_key",
            Self::RevokeKey => "revoke_key",
        }
    }
}

impl std::str::FromStr for Deed {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|deed| deed.as_str() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("there is no deed `{name}`; there are {names}")
        })
    }
}

impl From<super::Action> for Deed {
    fn from(action: super::Action) -> Self {
        match action {
            super::Action::Requeue => Self::Requeue,
            super::Action::Purge => Self::Purge,
            super::Action::Cancel => Self::Cancel,
        }
    }
}

impl From<super::OperationCommand> for Deed {
    fn from(command: super::OperationCommand) -> Self {
        match command {
            super::OperationCommand::Pause => Self::PauseOperation,
            super::OperationCommand::Resume => Self::ResumeOperation,
            super::OperationCommand::Cancel => Self::CancelOperation,
        }
    }
}

/// A deed on record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// UUIDv7; newer entries have higher ones.
    pub id: Uuid,
    /// When, by the store's clock.
    pub at: DateTime<Utc>,
    /// Who: the name of an API key, or `cli:USER@HOST`.
    pub by: String,
    /// What was done.
    pub deed: Deed,
    /// To what: an id or a name.
    pub target: String,
    /// On what filter, with what limits, to how many.
    pub detail: serde_json::Value,
}

/// Which deeds. Every part that is given must match.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AuditFilter {
    /// By this one.
    pub by: Option<String>,
    /// Of this sort.
    pub deed: Option<Deed>,
}

/// Tells what operators did. Written by the methods that do it, kept for 400 days.
///
/// # Errors
/// As those of [`Store`](super::Store).
#[async_trait]
pub trait Audit {
    /// Deeds, newest first, older than `before`.
    async fn audit(
        &self,
        filter: &AuditFilter,
        limit: u32,
        before: Option<Uuid>,
    ) -> StoreResult<Vec<AuditEntry>>;
}
