//! Tests of your own jobs, with no services: [`RunOnce`] runs one handler and gives its outcome
//! as a value; [`Harness`] runs a whole program on a clock that the test moves.
//!
//! Both work in a folder of their own that is removed with them, on the embedded store and
//! broker. What is tested there holds on PostgreSQL and RabbitMQ: the same code decides when a
//! job is tried again and when it is dead, and both stores pass the same tests. SQL of your own
//! jobs is the exception: it is run in SQLite here.

mod folder;
mod harness;
mod run_once;

pub use harness::Harness;
pub use run_once::RunOnce;

use crate::admin::Refusal;
use crate::config::{ConfigError, SettingError};
use crate::node::NodeError;
use crate::store::StoreError;

/// Why a test could not go on. A job that fails is none of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestingError {
    /// The program is not put together right: names, kinds, settings.
    #[error("{0}")]
    Program(String),
    /// The job was refused at the door.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The job cannot be written as JSON.
    #[error("no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The process could not start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The test's folder could not be made.
    #[error(transparent)]
    Folder(#[from] std::io::Error),
    /// Jobs were still at work after this long, in real time.
    #[error("no rest within {within:?}: {jobs}")]
    Restless {
        /// How long it was waited for.
        within: std::time::Duration,
        /// What still worked.
        jobs: String,
    },
}

impl From<Vec<SettingError>> for TestingError {
    fn from(errors: Vec<SettingError>) -> Self {
        Self::Program(lines(&errors))
    }
}

impl From<Vec<ConfigError>> for TestingError {
    fn from(errors: Vec<ConfigError>) -> Self {
        Self::Program(lines(&errors))
    }
}

fn lines(errors: &[impl std::fmt::Display]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
