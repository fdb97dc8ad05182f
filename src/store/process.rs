use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::job::{ProcessId, QueueName};

/// What a process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// HTTP API and relay.
    Intake,
    /// Runs jobs, and relay.
    Worker,
    /// Everything in one process.
    Dev,
    /// One command of an operator.
    Operator,
}

impl Role {
    /// The role's name, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Worker => "worker",
            Self::Dev => "dev",
            Self::Operator => "operator",
        }
    }
}

/// A process that is about to take part.
#[derive(Debug, Clone)]
pub struct NewProcess {
    /// What it is there for.
    pub role: Role,
    /// `host/pid`, for people.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// The queues it works.
    pub queues: Vec<QueueName>,
}

impl NewProcess {
    /// This operating-system process.
    #[must_use]
    pub fn this(role: Role, queues: Vec<QueueName>) -> Self {
        let host = gethostname::gethostname();
        Self {
            role,
            name: format!("{}/{}", host.to_string_lossy(), std::process::id()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            queues,
        }
    }
}

/// A process as people see it.
#[derive(Debug, Clone, Serialize)]
pub struct ProcessRow {
    /// Its number.
    pub id: ProcessId,
    /// What it is there for.
    pub role: String,
    /// `host/pid`.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// The queues it works.
    pub queues: Vec<String>,
    /// When it registered.
    pub started_at: DateTime<Utc>,
    /// When it last beat. For people only: liveness is judged by the counter.
    pub beat_at: DateTime<Utc>,
}

/// A live process's beat counter, as one read found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessBeat {
    /// Whose.
    pub process: ProcessId,
    /// Its value.
    pub counter: i64,
}

/// The answer to a beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Raised.
    Counted,
    /// The process was declared dead; it must stop what it runs and register anew.
    Dead,
}
