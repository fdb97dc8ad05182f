//! Dead letters that come back from a file.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::StoreResult;
use crate::job::{AttemptView, JobError, JobId, Kind, Priority, QueueName};

/// A dead letter as it was exported.
#[derive(Debug, Clone)]
pub struct NewLetter {
    /// Its id, which it keeps.
    pub id: JobId,
    /// What it does.
    pub kind: Kind,
    /// Where it waited.
    pub queue: QueueName,
    /// JSON text.
    pub payload: Vec<u8>,
    /// As first submitted, if it was edited since.
    pub original_payload: Option<Vec<u8>>,
    /// Its lane.
    pub priority: Priority,
    /// Free labels.
    pub tags: Vec<String>,
    /// Its own limit.
    pub max_attempts: Option<u32>,
    /// When it was first accepted.
    pub created_at: DateTime<Utc>,
    /// What it died of.
    pub error: JobError,
    /// Its failed runs, oldest first; numbered anew.
    pub attempts: Vec<AttemptView>,
}

/// Brings dead letters back.
///
/// # Errors
/// As those of [`Store`](super::Store).
#[async_trait]
pub trait Letters {
    /// Enters letters as dead jobs, counted as accepted, that end now: their retention begins
    /// anew. An id that the store has already, whatever it is, is left alone: `false`. What a
    /// purge has remembered of an id is taken up, so that its dispatches number on. Answers in
    /// the order of the letters; a repetition changes nothing. `source` is where they come from,
    /// for the record.
    async fn import(&self, letters: &[NewLetter], by: &str, source: &str)
    -> StoreResult<Vec<bool>>;
}
