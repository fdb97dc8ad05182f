//! What is remembered of payments: two tables in the job's own database.

mod rows;
mod sql;
mod statements;
mod step;

use async_trait::async_trait;
use longshore::job::{Done, Failure, JobId};
use serde_json::Value;

pub(crate) use sql::{SqlLedger, fate, withdraw};
pub(crate) use step::StepLedger;

use super::check::misstep;
use super::row::{Payment, RefundRow};

/// Remembers payments and refunds. Every change is fenced by the claim of the run that makes it
/// (a run that lost its job changes nothing), and names the version of the row that it changes,
/// so that of two runs that go by the same row one is refused.
#[async_trait]
pub(crate) trait Ledger: Send + Sync {
    /// Enters a payment whose reference is new; the row as it stands.
    async fn enter(&self, payment: &Payment) -> Result<Payment, Failure>;

    /// Changes a payment; false if the row has changed since it was read.
    async fn change(&self, payment: &Payment) -> Result<bool, Failure>;

    /// Changes a payment and ends the job as a success, both or neither; `None` if the row has
    /// changed since.
    async fn settle(&self, payment: &Payment, result: Value) -> Result<Option<Done>, Failure>;

    /// Unfinished payments that name an intent and whose job has ended, so that nobody else will
    /// ask what has become of them; those that nobody has touched for a while, the longest first.
    async fn orphans(&self, limit: i64) -> Result<Vec<Payment>, Failure>;

    /// Enters a refund, if there is that much left to give back.
    async fn enter_refund(&self, request: &RefundRequest<'_>) -> Result<Admission, Failure>;

    /// Changes a refund; false if the row has changed since it was read.
    async fn change_refund(&self, refund: &RefundRow) -> Result<bool, Failure>;

    /// Changes a refund, adds it to its payment, and ends the job as a success, all or nothing;
    /// `None` if the row has changed since.
    async fn settle_refund(
        &self,
        refund: &RefundRow,
        result: Value,
    ) -> Result<Option<Done>, Failure>;
}

/// How a payment stands, for a job that does something else with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody has asked for it, or it was refused.
    Unpaid,
    /// Its money may be moving.
    Unfinished,
    /// It is paid, and so much of it was given back or is about to be.
    Paid { amount: u64, given_back: u64 },
}

/// A refund that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefundRequest<'r> {
    pub(crate) job: JobId,
    /// As [`Who::earlier`](super::run::Who::earlier).
    pub(crate) earlier: i32,
    pub(crate) reference: &'r str,
    /// All that is left, if not given.
    pub(crate) amount: Option<u64>,
}

/// What the ledger says to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Nobody has ever asked for such a payment.
    Unknown,
    /// The payment was refused.
    NotCharged(Payment),
    /// The payment is on its way; `alive`, if its job is at it.
    Unfinished { payment: Payment, alive: bool },
    /// The job's refund is another one, which is done or under way.
    Reused(RefundRow),
    /// The gateway cannot give back exactly this amount.
    Misstep(String),
    /// So little is left of it.
    Exceeds { left: u64, asked: Option<u64> },
    /// It is entered, now or before.
    Entered(Payment, RefundRow),
}

/// Decides about a refund. Called while the payment's row is locked; `taken` is the sum of its
/// refunds that are done or on their way, without this one; `alive`, if the job that charges is.
pub(crate) fn admit(
    payment: Payment,
    existing: Option<RefundRow>,
    taken: u64,
    alive: bool,
    request: &RefundRequest<'_>,
) -> Admission {
    use super::row::{PaymentState, RefundState};
    if let Some(row) = &existing {
        // An edited job must have been sent back.
        let edited = row.differs_from(request);
        if edited && row.state != RefundState::Refused {
            return Admission::Reused(row.clone());
        }
    }
    match payment.state {
        PaymentState::Succeeded => {}
        PaymentState::Refused => return Admission::NotCharged(payment),
        _ => return Admission::Unfinished { payment, alive },
    }
    if let Some(row) = &existing {
        let sent_back = row.state == RefundState::Refused
            && (request.earlier > row.told || row.differs_from(request));
        if !sent_back {
            return Admission::Entered(payment, row.clone());
        }
    }
    let left = payment.amount.saturating_sub(taken);
    let amount = request.amount.unwrap_or(left);
    if let Some(message) = misstep(amount, &payment.currency) {
        return Admission::Misstep(message);
    }
    if amount == 0 || amount > left {
        return Admission::Exceeds {
            left,
            asked: request.amount,
        };
    }
    let row = match existing {
        Some(row) => row.begun_anew(request, amount),
        None => RefundRow::new(request, amount),
    };
    Admission::Entered(payment, row)
}
