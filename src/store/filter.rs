use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::job::{JobId, Kind, QueueName, State};

/// Which jobs. Every part that is given must match.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// In one of these states; empty: in any.
    pub states: Vec<State>,
    /// In one of these queues; empty: in any.
    pub queues: Vec<QueueName>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// With this error code.
    pub code: Option<String>,
    /// One of these; empty: any.
    pub ids: Vec<JobId>,
}

/// A page of a list that is sorted newest first.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Jobs on it at most.
    pub limit: u32,
    /// Only jobs older than this one.
    pub before: Option<JobId>,
}

/// How long a queue's finished jobs are kept, from their end.
#[derive(Debug, Clone)]
pub struct Retention {
    /// The queue; ignored in a fallback.
    pub queue: Option<QueueName>,
    /// Succeeded and cancelled ones.
    pub finished: Duration,
    /// Dead ones.
    pub dead: Duration,
}

/// How many jobs a queue holds in each state.
#[derive(Debug, Clone, Serialize)]
pub struct Counts {
    /// The queue.
    pub queue: String,
    /// States without jobs are absent.
    pub states: BTreeMap<State, u64>,
}

/// The balance sheet of jobs: `accepted = live + succeeded + dead + cancelled + pruned`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Counted at acceptance, apart from the rows.
    pub accepted: u64,
    /// Scheduled, queued, running and retrying.
    pub live: u64,
    /// Succeeded and still kept.
    pub succeeded: u64,
    /// Dead and still kept.
    pub dead: u64,
    /// Cancelled and still kept.
    pub cancelled: u64,
    /// Removed after their retention.
    pub pruned: u64,
}

impl Tally {
    /// Accepted jobs that no row accounts for; negative when there are more rows than jobs.
    #[must_use]
    pub fn missing(&self) -> i128 {
        i128::from(self.accepted)
            - [
                self.live,
                self.succeeded,
                self.dead,
                self.cancelled,
                self.pruned,
            ]
            .into_iter()
            .map(i128::from)
            .sum::<i128>()
    }
}
