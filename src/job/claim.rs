use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{ProcessId, State};

/// A claim that was won. Every later write of this run must match owner, epoch and
/// `state = running`.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The process that owns the run.
    pub owner: ProcessId,
    /// Raised at each claim.
    pub epoch: i32,
    /// Counted failures so far.
    pub failures: u32,
    /// Failures on record from before the job was last sent back.
    pub earlier_failures: u32,
    /// Runs so far that took the process down.
    pub crashes: u32,
    /// The job's own limit, if it has one.
    pub max_attempts: Option<u32>,
    /// When the store accepted the job.
    pub created_at: DateTime<Utc>,
    /// When this dispatch entered the queue, by the store's clock.
    pub queued_at: DateTime<Utc>,
    /// When this run began, by the store's clock.
    pub started_at: DateTime<Utc>,
    /// How long the job has been put off without a counted run, if it has.
    pub postponed_for: Option<Duration>,
}

/// How a row stands that could not be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: State,
    /// Its dispatch.
    pub dispatch: i32,
    /// Its epoch.
    pub epoch: i32,
    /// Its owner, while running.
    pub owner: Option<ProcessId>,
}

/// What to do with a delivery whose claim was not won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Stale or a duplicate: acknowledge and drop.
    Drop,
    /// Another process says it runs this dispatch: keep the delivery unacknowledged until its
    /// beat advances (drop) or it is found dead (claim).
    Park(ProcessId),
    /// This process owns the row at this epoch. If a handler runs for it, drop; else the reply
    /// of the claim was lost: claim again over that epoch.
    Ours {
        /// The epoch to claim over.
        epoch: i32,
    },
    /// The store does not know this dispatch: it lost a commit (failover, restore).
    Restore,
    /// The row could have been claimed but was not: this process is not allowed to claim
    /// (declared dead, or an old beat). Leave the delivery unsettled.
    NotAllowed,
}

/// The claim table: what to do with a delivery of `dispatch`, given the row as it stands
/// (`None`: no row), in the process `me`.
#[must_use]
pub fn dispose(row: Option<&Standing>, dispatch: i32, me: ProcessId) -> Disposition {
    let Some(row) = row else {
        return Disposition::Restore;
    };
    match dispatch.cmp(&row.dispatch) {
        std::cmp::Ordering::Less => Disposition::Drop,
        std::cmp::Ordering::Greater => Disposition::Restore,
        std::cmp::Ordering::Equal => match (row.state, row.owner) {
            (State::Running, Some(owner)) if owner == me => Disposition::Ours { epoch: row.epoch },
            (State::Running, Some(owner)) => Disposition::Park(owner),
            (State::Queued, _) => Disposition::NotAllowed,
            _ => Disposition::Drop,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claim_table() {
        let me = ProcessId(1);
        let other = ProcessId(2);
        let row = |state, dispatch, owner| Standing {
            state,
            dispatch,
            epoch: 4,
            owner,
        };
        let table = [
            (None, Disposition::Restore),
            (Some(row(State::Queued, 2, None)), Disposition::Restore),
            (Some(row(State::Queued, 3, None)), Disposition::NotAllowed),
            (Some(row(State::Queued, 4, None)), Disposition::Drop),
            (
                Some(row(State::Running, 3, Some(me))),
                Disposition::Ours { epoch: 4 },
            ),
            (
                Some(row(State::Running, 3, Some(other))),
                Disposition::Park(other),
            ),
            (Some(row(State::Running, 4, Some(other))), Disposition::Drop),
            (Some(row(State::Scheduled, 3, None)), Disposition::Drop),
            (Some(row(State::Retrying, 3, None)), Disposition::Drop),
            (Some(row(State::Succeeded, 3, None)), Disposition::Drop),
            (Some(row(State::Dead, 3, None)), Disposition::Drop),
            (Some(row(State::Cancelled, 3, None)), Disposition::Drop),
            (Some(row(State::Dead, 2, None)), Disposition::Restore),
        ];
        for (standing, expected) in table {
            assert_eq!(dispose(standing.as_ref(), 3, me), expected, "{standing:?}");
        }
    }
}
