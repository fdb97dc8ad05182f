use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{JobId, Kind, Publication, QueueName};

/// Which of a queue's two broker queues a job travels through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// The queue itself.
    #[default]
    Normal,
    /// Its high-priority queue, which workers empty first.
    High,
}

impl Priority {
    /// True for the high-priority queue.
    #[must_use]
    pub const fn is_high(self) -> bool {
        matches!(self, Self::High)
    }

    /// The priority of a stored flag.
    #[must_use]
    pub const fn from_high(high: bool) -> Self {
        if high { Self::High } else { Self::Normal }
    }
}

/// When a new job may run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    /// At once.
    #[default]
    Now,
    /// Not before this moment, by the store's clock.
    At(DateTime<Utc>),
    /// Not before this long after acceptance, by the store's clock.
    After(Duration),
}

/// What makes two submissions one: the same key in the same scope is the same job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UniqueKey {
    /// Whose key it is: an API key's id, or the sender of an AMQP message.
    pub scope: String,
    /// The sender's own key.
    pub key: String,
    /// A digest of what was asked for; the same key with another digest is refused.
    pub fingerprint: Vec<u8>,
}

/// A job as it is accepted.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Made by whoever accepts it.
    pub id: JobId,
    /// What to do.
    pub kind: Kind,
    /// Where it waits.
    pub queue: QueueName,
    /// The payload, as JSON text.
    pub payload: Bytes,
    /// Which lane it takes.
    pub priority: Priority,
    /// When it may run.
    pub start: Start,
    /// Overrides the queue's `max_attempts`.
    pub max_attempts: Option<u32>,
    /// Free labels to find it by.
    pub tags: Vec<String>,
    /// W3C trace context of the submission.
    pub traceparent: Option<String>,
    /// Makes a repeated submission the same job.
    pub unique: Option<UniqueKey>,
}

impl NewJob {
    /// A job to run now, with everything else at its default.
    #[must_use]
    pub fn new(kind: Kind, queue: QueueName, payload: impl Into<Bytes>) -> Self {
        Self {
            id: JobId::new(),
            kind,
            queue,
            payload: payload.into(),
            priority: Priority::Normal,
            start: Start::Now,
            max_attempts: None,
            tags: Vec::new(),
            traceparent: None,
            unique: None,
        }
    }

    /// The message of its first dispatch, for a job that is `queued` from the start.
    #[must_use]
    pub fn first_dispatch(&self) -> Publication {
        Publication {
            id: self.id,
            kind: self.kind.clone(),
            queue: self.queue.clone(),
            priority: self.priority,
            dispatch: 1,
            traceparent: self.traceparent.clone(),
            payload: self.payload.clone(),
        }
    }
}
