//! A job that took its process down twice runs alone: in a child process of the same binary, so
//! that the next time it takes nobody along.
//!
//! The worker that has claimed it keeps everything that is the platform's: claim, timeout,
//! cancellation, the record of the end. The child has the handler, and what that needs. Between
//! them is one socket, which is the child's standard input:
//!
//! - to the child: an [`Assignment`], the payload, and perhaps [`Stop`];
//! - to the worker: [`Told`], the last of them [`Told::Ended`].
//!
//! The socket ends with either process. A child whose worker is gone ends at once, however busy
//! its handler is; a worker whose child is gone without a word about its end has seen a crash.

mod child;
mod frame;
mod parent;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::transaction::Commit;
use crate::job::{Done, ErrorClass, Failure, JobError, JobId, Kind, Outcome, ProcessId};

pub use child::{Hand, serve};
pub use parent::Isolation;

/// Runs that took their process down after which a job runs alone.
pub(super) const ALONE_AFTER: u32 = 2;

/// What a child is to run, and by whose claim.
#[derive(Debug, Serialize, Deserialize)]
struct Assignment {
    job: JobId,
    kind: Kind,
    dispatch: i32,
    owner: ProcessId,
    epoch: i32,
    number: u32,
    max_attempts: u32,
    earlier_failures: u32,
    created_at: DateTime<Utc>,
    /// Until the deadline, from now.
    left: Duration,
}

/// The run's result is no longer wanted.
#[derive(Debug, Serialize, Deserialize)]
struct Stop;

/// What a child tells.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    /// Everything is ready; the handler begins. What ends the child from here on is a crash.
    Begins,
    /// How far it has come.
    Progress { fraction: f64, message: String },
    /// The handler has ended.
    Ended { end: End, commit: Commit },
}

/// How a handler ended.
#[derive(Debug, Serialize, Deserialize)]
enum End {
    Success(Option<Value>),
    Failure {
        error: JobError,
        after: Option<Duration>,
        outside: bool,
    },
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success(done) => Self::Success(done.result),
            Outcome::Failure(Failure {
                error,
                after,
                outside,
            }) => Self::Failure {
                error,
                after,
                outside,
            },
            // Ends that the worker alone gives; a child has none of them.
            Outcome::Interrupted | Outcome::Cancelled => Self::Failure {
                error: JobError::new(ErrorClass::Retryable, "interrupted", "cut off"),
                after: None,
                outside: false,
            },
        }
    }
}

impl From<End> for Outcome {
    fn from(end: End) -> Self {
        match end {
            End::Success(result) => Self::Success(Done { result }),
            End::Failure {
                error,
                after,
                outside,
            } => Self::Failure(Failure {
                error,
                after,
                outside,
            }),
        }
    }
}
