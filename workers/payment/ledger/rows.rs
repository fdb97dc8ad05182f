use longshore::job::{Failure, JobId};

use super::super::gateway::Decline;
use super::super::row::{Payment, PaymentState, RefundRow, RefundState};

#[derive(Debug, sqlx::FromRow)]
pub(super) struct PaymentColumns {
    reference: String,
    job: String,
    fingerprint: String,
    amount: i64,
    currency: String,
    state: String,
    intent: Option<String>,
    charge: Option<String>,
    generation: i32,
    code: Option<String>,
    message: Option<String>,
    told: Option<i32>,
    version: i32,
}

#[derive(Debug, sqlx::FromRow)]
pub(super) struct RefundColumns {
    job: String,
    reference: String,
    amount: i64,
    state: String,
    refund: Option<String>,
    round: i32,
    generation: i32,
    code: Option<String>,
    message: Option<String>,
    told: i32,
    asked: Option<i64>,
    version: i32,
}

impl TryFrom<PaymentColumns> for Payment {
    type Error = Failure;

    fn try_from(row: PaymentColumns) -> Result<Self, Failure> {
        Ok(Self {
            job: job(&row.job)?,
            amount: row.amount.try_into().map_err(|_| unreadable("amount"))?,
            state: PaymentState::of(&row.state).ok_or_else(|| unreadable("state"))?,
            reference: row.reference,
            fingerprint: row.fingerprint,
            currency: row.currency,
            intent: row.intent,
            charge: row.charge,
            generation: row.generation,
            decline: decline(row.code, row.message),
            told: row.told,
            version: row.version,
        })
    }
}

impl TryFrom<RefundColumns> for RefundRow {
    type Error = Failure;

    fn try_from(row: RefundColumns) -> Result<Self, Failure> {
        Ok(Self {
            job: job(&row.job)?,
            amount: row.amount.try_into().map_err(|_| unreadable("amount"))?,
            state: RefundState::of(&row.state).ok_or_else(|| unreadable("state"))?,
            reference: row.reference,
            refund: row.refund,
            round: row.round,
            generation: row.generation,
            decline: decline(row.code, row.message),
            told: row.told,
            asked: asked(row.asked)?,
            version: row.version,
        })
    }
}

fn asked(amount: Option<i64>) -> Result<Option<u64>, Failure> {
    let amount = amount.map(u64::try_from).transpose();
    amount.map_err(|_| unreadable("asked"))
}

fn decline(code: Option<String>, message: Option<String>) -> Option<Decline> {
    code.map(|code| Decline {
        code,
        message: message.unwrap_or_default(),
    })
}

fn job(text: &str) -> Result<JobId, Failure> {
    text.parse().map_err(|_| unreadable("job"))
}

/// Not what this program writes: a newer version's, or somebody's by hand. It is waited for, since
/// going on could charge twice.
fn unreadable(column: &str) -> Failure {
    let message = format!("the row in the database has a `{column}` that is not known");
    Failure::unavailable("ledger_unreadable", message)
}
