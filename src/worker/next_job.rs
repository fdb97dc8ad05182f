use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Job;
use crate::config::Queues;
use crate::job::{Failure, JobId, Kind, NewJob, Priority, Start, UniqueKey};

/// A job that another one starts in its own transaction: it exists if and only if that one
/// succeeds.
#[derive(Debug, Clone)]
pub struct NextJob {
    kind: Kind,
    payload: String,
    priority: Priority,
    start: Start,
    max_attempts: Option<u32>,
    tags: Vec<String>,
    key: Option<String>,
}

impl NextJob {
    /// A job to run now, in the queue of its kind.
    ///
    /// # Errors
    /// A permanent [`Failure`] with code `invalid_next_job`, when the job is not valid: it would
    /// be refused at the door, too.
    pub fn new<J: Job>(job: &J) -> Result<Self, Failure> {
        let refused = |why: &str| Failure::permanent("invalid_next_job", why);
        job.validate().map_err(|wrong| {
            let texts: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            refused(&format!("{}: {}", J::KIND, texts.join("; ")))
        })?;
        Ok(Self {
            kind: J::KIND
                .parse()
                .map_err(|error| refused(&format!("{error}")))?,
            payload: serde_json::to_string(job).map_err(|error| refused(&error.to_string()))?,
            priority: Priority::Normal,
            start: Start::Now,
            max_attempts: None,
            tags: Vec::new(),
            key: None,
        })
    }

    /// Not before this long after the commit.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.start = Start::After(delay);
        self
    }

    /// Ahead of the backlog of its queue.
    #[must_use]
    pub fn urgent(mut self) -> Self {
        self.priority = Priority::High;
        self
    }

    /// Overrides its queue's `max_attempts`.
    #[must_use]
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = Some(max_attempts);
        self
    }

    /// Adds a label to find it by.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// One job for this key, whichever jobs ask for it: `receipt:order-7`. The keys of next jobs
    /// are apart from those of API keys; a kind has its own. Not needed to be started once by one
    /// job, because a job succeeds once.
    #[must_use]
    pub fn once(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    pub(super) fn into_job(self, queues: &Queues) -> Result<NewJob, Failure> {
        let Some(queue) = queues.of_kind(&self.kind) else {
            let why = format!(
                "no queue takes the kind `{}`: name it in queues.toml",
                self.kind
            );
            return Err(Failure::permanent("invalid_next_job", why));
        };
        let unique = self.key.map(|key| UniqueKey {
            scope: format!("next:{}", self.kind),
            key,
            fingerprint: Sha256::digest(&self.payload).to_vec(),
        });
        Ok(NewJob {
            id: JobId::new(),
            priority: self.priority,
            start: self.start,
            max_attempts: self.max_attempts,
            tags: self.tags,
            unique,
            ..NewJob::new(self.kind, queue.clone(), self.payload)
        })
    }
}
