use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::job::{Priority, QueueName};

/// One of the three broker queues behind a queue of `queues.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// `longshore.<queue>`.
    Normal,
    /// `longshore.<queue>.high`.
    High,
    /// `longshore.<queue>.dead`.
    Dead,
}

impl From<Priority> for Lane {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Normal => Self::Normal,
            Priority::High => Self::High,
        }
    }
}

/// A queue to consume from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// Its name in `queues.toml`.
    pub queue: QueueName,
    /// Which of its broker queues.
    pub lane: Lane,
}

impl Source {
    /// That lane of that queue.
    #[must_use]
    pub const fn new(queue: QueueName, lane: Lane) -> Self {
        Self { queue, lane }
    }

    /// The routing key: `email`, `email.high`, and `email` on the dead-letter exchange.
    #[must_use]
    pub fn routing_key(&self) -> String {
        match self.lane {
            Lane::Normal | Lane::Dead => self.queue.to_string(),
            Lane::High => format!("{}.high", self.queue),
        }
    }
}

/// The broker queue's name.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lane {
            Lane::Normal => write!(f, "longshore.{}", self.queue),
            Lane::High => write!(f, "longshore.{}.high", self.queue),
            Lane::Dead => write!(f, "longshore.{}.dead", self.queue),
        }
    }
}

/// A broker queue as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QueueStatus {
    /// Messages ready for delivery.
    pub ready: u64,
    /// Consumers registered.
    pub consumers: u64,
}

/// One broker of those that the settings name, as it answers now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// `host:port`.
    pub address: String,
    /// `RabbitMQ 3.10.8`, or why it does not say.
    pub version: Result<String, String>,
}

/// Whether a broker object is as it should be.
#[derive(Debug, Clone, Serialize)]
pub struct ObjectStatus {
    /// `exchange` or `queue`.
    pub object: &'static str,
    /// Its name on the broker.
    pub name: String,
    /// What it should be: `quorum, durable, …`.
    pub expected: String,
    /// `declared`, `missing` or `different`.
    pub status: &'static str,
    /// For `different`: what the broker says.
    pub detail: Option<String>,
}
