//! The balance sheet: what one snapshot of the store says about itself.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Balance, Counts, StoreResult, Sums, Tally};
use crate::job::{JobId, State};

/// All of it is read in one snapshot, so that a job that moves meanwhile is counted once.
#[derive(Debug, Clone, Serialize)]
pub struct Sheet {
    /// When, by the store's clock.
    pub at: DateTime<Utc>,
    /// Accepted against what there is.
    pub jobs: Tally,
    /// What each queue holds.
    pub queues: Vec<Counts>,
    /// What there is of each kind.
    pub kinds: Vec<KindCounts>,
    /// What each queue has to do with the broker.
    pub in_flight: Vec<InFlight>,
    /// What is not known to be on the broker.
    pub outbox: OutboxSize,
    /// What was compared, and what differs.
    pub checks: Vec<Check>,
}

/// How many jobs of a kind there are in each state.
#[derive(Debug, Clone, Serialize)]
pub struct KindCounts {
    /// The kind.
    pub kind: String,
    /// States without jobs are absent.
    pub states: BTreeMap<State, u64>,
}

/// What a queue has on the broker, as the store sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InFlight {
    /// The queue.
    pub queue: String,
    /// Jobs that are `queued`.
    pub queued: u64,
    /// Of those, the ones that are in the outbox: perhaps not on the broker.
    pub unpublished: u64,
    /// Jobs that are `running`; the broker holds their messages unacknowledged.
    pub running: u64,
}

impl InFlight {
    /// A queue of which the store holds nothing that is live.
    #[must_use]
    pub fn none(queue: &str) -> Self {
        Self {
            queue: queue.to_owned(),
            queued: 0,
            unpublished: 0,
            running: 0,
        }
    }
}

/// Dispatches that are not known to be on the broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct OutboxSize {
    /// Rows.
    pub entries: u64,
    /// Dispatches in them, whatever became of their jobs.
    pub dispatches: u64,
    /// Age of the oldest row in seconds, if there is one.
    pub oldest_age: Option<f64>,
}

/// Something that was compared.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Check {
    /// What: `rows`, or the name of a [`Balance`].
    pub name: String,
    /// What does not add up: the first of them.
    pub differences: Vec<Difference>,
    /// How many more there are.
    pub more: u64,
    /// Why it could not be compared, if it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<String>,
    /// What it comes to, in the words of its jobs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sums: Vec<Sum>,
}

/// One thing that does not add up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Whose row it is, where it is a job's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// In words.
    pub detail: String,
}

/// A total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Of what: `charged EUR`.
    pub of: String,
    /// How much.
    pub amount: i64,
}

impl Check {
    /// One that found nothing yet.
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// True if it was compared and nothing differs.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.differences.is_empty() && self.more == 0 && self.unfinished.is_none()
    }
}

impl Sheet {
    /// True if all that was compared adds up.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.jobs.missing() == 0 && self.checks.iter().all(Check::is_balanced)
    }
}

/// Reads the store against itself.
///
/// # Errors
/// As those of [`Store`](super::Store).
#[async_trait]
pub trait Verify {
    /// The balance sheet, with up to `named` differences of each check by name. It takes no
    /// locks and stands in nobody's way; a check that takes a minute is given up and told as
    /// unfinished.
    async fn sheet(&self, balances: &[Balance], sums: &[Sums], named: u32) -> StoreResult<Sheet>;

    /// What each queue has to do with the broker now.
    async fn in_flight(&self) -> StoreResult<Vec<InFlight>>;
}
