//! Values between Rust and SQLite.
//!
//! A batch travels as one JSON array that `json_each` turns into rows, so that a batch of any
//! size is one prepared statement. Ids are hexadecimal in it.

use serde::Serialize;
use sqlx::types::Uuid;

use crate::job::{ErrorClass, JobError, JobId, Priority, Publication, State};

/// The columns of a [`PublicationRow`].
macro_rules! publication {
    () => {
        "job.id, job.kind, job.queue, job.high, job.dispatch, job.traceparent, job.payload"
    };
}
pub(super) use publication;

/// A dispatch, as it is read.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct PublicationRow {
    id: Uuid,
    kind: String,
    queue: String,
    high: bool,
    dispatch: i32,
    traceparent: Option<String>,
    payload: Vec<u8>,
}

impl TryFrom<PublicationRow> for Publication {
    type Error = sqlx::Error;

    fn try_from(row: PublicationRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id.into(),
            kind: row.kind.parse().map_err(corrupt)?,
            queue: row.queue.parse().map_err(corrupt)?,
            priority: Priority::from_high(row.high),
            dispatch: row.dispatch,
            traceparent: row.traceparent,
            payload: row.payload.into(),
        })
    }
}

/// A row that holds what this program cannot read.
pub(super) fn corrupt(why: impl Into<sqlx::error::BoxDynError>) -> sqlx::Error {
    sqlx::Error::Decode(why.into())
}

/// An id as a batch carries it.
pub(super) fn hex(id: JobId) -> String {
    id.uuid().simple().to_string()
}

/// Bytes as a batch carries them.
pub(super) fn hex_bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A batch as one bind value.
pub(super) fn batch<T: Serialize>(rows: &[T]) -> sqlx::Result<String> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// The ids of a batch as one bind value.
pub(super) fn id_batch(ids: impl IntoIterator<Item = JobId>) -> sqlx::Result<String> {
    let ids: Vec<String> = ids.into_iter().map(hex).collect();
    batch(&ids)
}

/// A stored state.
pub(super) fn state(code: i16) -> sqlx::Result<State> {
    State::from_code(code).ok_or_else(|| corrupt(format!("{code} is no state")))
}

/// A stored error, if the row has one.
pub(super) fn job_error(
    code: Option<String>,
    message: Option<String>,
    class: Option<String>,
) -> Option<JobError> {
    Some(JobError {
        code: code?,
        message: message?,
        class: ErrorClass::from_name(&class?),
    })
}
