use std::time::Duration;

use longshore::job::{Failure, JobId};
use longshore::worker::Attempt;
use tokio_util::sync::CancellationToken;

use super::gateway::{Advice, Gateway, GatewayError};
use super::ledger::Ledger;

/// How long a payment is left alone that the bank has not answered yet.
pub(crate) const POLL: Duration = Duration::from_secs(5);
/// How long a payment is left alone that the gateway says it cannot do anything about.
const IN_DOUBT: Duration = Duration::from_secs(60);
/// How often a run starts over because others changed the row under it.
pub(super) const TURNS: u32 = 16;

/// A run of a payment job: who asks, and whom.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) gateway: &'a dyn Gateway,
    pub(crate) ledger: &'a dyn Ledger,
    pub(crate) who: Who,
    /// Fires when nothing new may be begun.
    pub(crate) cancelled: &'a CancellationToken,
}

/// Which run of which job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) job: JobId,
    /// How often it had failed when it was last sent back; see
    /// [`Attempt::earlier_failures`](longshore::worker::Attempt::earlier_failures).
    pub(crate) earlier: i32,
    /// A counted failure of this run is the job's end.
    pub(crate) last: bool,
}

impl Who {
    pub(crate) fn of(attempt: &Attempt) -> Self {
        Self {
            job: attempt.job_id(),
            earlier: attempt.earlier_failures().try_into().unwrap_or(i32::MAX),
            last: attempt.number() >= attempt.max_attempts(),
        }
    }
}

impl Run<'_> {
    /// What the job does about an error when nothing is in doubt: no money has moved, and none
    /// will.
    pub(super) fn failure(&self, error: &GatewayError) -> Failure {
        let failure = match error.advice {
            Advice::Declined | Advice::Permanent => Failure::permanent(&error.code, error),
            Advice::Retry => Failure::retry(&error.code, error),
            Advice::Unavailable => Failure::unavailable(&error.code, error),
        };
        match error.after {
            Some(after) => failure.after(after),
            None => failure,
        }
    }

    /// What the job does about an error when money may have moved: it must not end, whatever the
    /// gateway advises, before it knows.
    pub(super) fn doubt(&self, error: &GatewayError) -> Failure {
        let failure = match error.advice {
            Advice::Retry if !self.who.last => return self.failure(error),
            // An answer, about this one payment: the gateway is not down, and others go on.
            Advice::Declined | Advice::Permanent => Failure::waiting(&error.code, error, IN_DOUBT),
            Advice::Retry | Advice::Unavailable => Failure::unavailable(&error.code, error),
        };
        match error.after {
            Some(after) => failure.after(after),
            None => failure,
        }
    }

    /// No money moves for a run whose result nobody wants any more. What it finds out still counts.
    ///
    /// # Errors
    /// When the run is to stop.
    pub(super) fn still_wanted(&self) -> Result<(), Failure> {
        if self.cancelled.is_cancelled() {
            let message = "stopped before money moved";
            return Err(Failure::waiting("payment_stopped", message, POLL));
        }
        Ok(())
    }

    /// Others change the row as fast as this run reads it.
    pub(super) fn contended() -> Failure {
        let message = "other jobs work on the same payment; this one waits for them";
        Failure::waiting("payment_contended", message, Duration::from_secs(1))
    }
}
