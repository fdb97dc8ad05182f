use async_trait::async_trait;
use longshore::job::{Done, Failure, JobId};
use longshore::store::Connection;
use longshore::worker::{Attempt, Transaction};
use serde_json::Value;

use super::rows::{PaymentColumns, RefundColumns};
use super::statements::{
    ADD_REFUNDED, ALIVE, CHANGE, CHANGE_REFUND, ENTER, ENTER_REFUND, LOCK_PAYMENT, ORPHANS,
    PAYMENT, REFUND, TAKEN, WITHDRAW,
};
use super::{Admission, Fate, Ledger, RefundRequest, admit};
use crate::payment::payload::ChargePayment;
use crate::payment::row::{Payment, PaymentState, RefundRow};

/// The tables `payments` and `refunds`, seen from a run. Every call is a short transaction: none
/// is open while the gateway is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SqlLedger<'a>(pub(crate) &'a Attempt);

/// The row that a statement answers with, if any, in either dialect.
macro_rules! row {
    ($tx:expr, $row:ty, $statement:expr, $($value:expr),+) => {{
        let found: sqlx::Result<Option<$row>> = match $tx.connection() {
            Connection::Postgres(db) => {
                sqlx::query_as($statement.postgres)$(.bind($value))+.fetch_optional(db).await
            }
            Connection::Sqlite(db) => {
                sqlx::query_as($statement.sqlite)$(.bind($value))+.fetch_optional(db).await
            }
            _ => Err(sqlx::Error::Configuration("a database that payments do not know".into())),
        };
        found.map_err(|error| $tx.failure(error))
    }};
}

type Version = (i32,);

impl SqlLedger<'_> {
    /// How much of a payment was given back, or is about to be.
    pub(crate) async fn given_back(&self, reference: &str) -> Result<u64, Failure> {
        let mut tx = self.0.transaction().await?;
        let sum = taken(&mut tx, reference, "").await?;
        tx.roll_back().await;
        Ok(sum)
    }
}

/// How a payment stands, which stays so until the transaction ends: its row is locked.
pub(crate) async fn fate(tx: &mut Transaction, reference: &str) -> Result<Fate, Failure> {
    let Some(row) = row!(tx, PaymentColumns, LOCK_PAYMENT, reference)? else {
        return Ok(Fate::Unpaid);
    };
    let payment = Payment::try_from(row)?;
    Ok(match payment.state {
        PaymentState::Refused => Fate::Unpaid,
        PaymentState::Succeeded => Fate::Paid {
            amount: payment.amount,
            given_back: taken(tx, reference, "").await?,
        },
        _ => Fate::Unfinished,
    })
}

/// Sees to it that a payment is never made, if nobody has begun to move its money: who was about
/// to, finds it refused with the code `order_cancelled`. How it stands then, locked.
pub(crate) async fn withdraw(
    tx: &mut Transaction,
    charge: &ChargePayment,
    job: JobId,
) -> Result<Fate, Failure> {
    let payment = Payment::new(charge, job);
    row!(
        tx,
        Version,
        WITHDRAW,
        &payment.reference,
        payment.job.to_string(),
        &payment.fingerprint,
        signed(payment.amount)?,
        &payment.currency,
        "order_cancelled",
        "the order was cancelled before it was charged"
    )?;
    fate(tx, &charge.reference).await
}

/// The sum of its refunds that are done or on their way, without that of `job`.
async fn taken(tx: &mut Transaction, reference: &str, job: &str) -> Result<u64, Failure> {
    let sum = row!(tx, (i64,), TAKEN, reference, job)?.map_or(0, |(sum,)| sum);
    Ok(u64::try_from(sum).unwrap_or_default())
}

#[async_trait]
impl Ledger for SqlLedger<'_> {
    async fn enter(&self, payment: &Payment) -> Result<Payment, Failure> {
        let mut tx = self.0.transaction().await?;
        if let Some(known) = read(&mut tx, &payment.reference).await? {
            tx.roll_back().await;
            return Ok(known);
        }
        let new = row!(
            tx,
            Version,
            ENTER,
            &payment.reference,
            payment.job.to_string(),
            &payment.fingerprint,
            signed(payment.amount)?,
            &payment.currency,
            payment.state.as_str(),
            payment.generation,
            payment.version
        )?;
        if new.is_some() {
            tx.commit().await?;
            return Ok(payment.clone());
        }
        // Somebody else's, committed while we waited for it.
        let known = read(&mut tx, &payment.reference).await?;
        tx.roll_back().await;
        known.ok_or_else(|| Failure::unavailable("database_unavailable", "the payment has gone"))
    }

    async fn change(&self, payment: &Payment) -> Result<bool, Failure> {
        let mut tx = self.0.transaction().await?;
        if !write(&mut tx, payment).await? {
            tx.roll_back().await;
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn settle(&self, payment: &Payment, result: Value) -> Result<Option<Done>, Failure> {
        let mut tx = self.0.transaction().await?;
        if !write(&mut tx, payment).await? {
            tx.roll_back().await;
            return Ok(None);
        }
        tx.succeed(result).await.map(Some)
    }

    async fn orphans(&self, limit: i64) -> Result<Vec<Payment>, Failure> {
        let mut tx = self.0.transaction().await?;
        let found: sqlx::Result<Vec<PaymentColumns>> = match tx.connection() {
            Connection::Postgres(db) => {
                let query = sqlx::query_as(ORPHANS.postgres).bind(limit);
                query.fetch_all(db).await
            }
            Connection::Sqlite(db) => {
                let query = sqlx::query_as(ORPHANS.sqlite).bind(limit);
                query.fetch_all(db).await
            }
            _ => Ok(Vec::new()),
        };
        let found = found.map_err(|error| tx.failure(error))?;
        tx.roll_back().await;
        found.into_iter().map(Payment::try_from).collect()
    }

    async fn enter_refund(&self, request: &RefundRequest<'_>) -> Result<Admission, Failure> {
        let mut tx = self.0.transaction().await?;
        let Some(payment) = row!(tx, PaymentColumns, LOCK_PAYMENT, request.reference)? else {
            tx.roll_back().await;
            return Ok(Admission::Unknown);
        };
        let job = request.job.to_string();
        let existing = row!(tx, RefundColumns, REFUND, &job)?
            .map(RefundRow::try_from)
            .transpose()?;
        let taken = taken(&mut tx, request.reference, &job).await?;
        let payment = Payment::try_from(payment)?;
        let alive =
            payment.is_unfinished() && row!(tx, Version, ALIVE, payment.job.to_string())?.is_some();
        let admission = admit(payment, existing.clone(), taken, alive, request);
        match &admission {
            Admission::Entered(_, row) if Some(row) != existing.as_ref() => {
                enter_refund(&mut tx, row, existing.is_none()).await?;
                tx.commit().await?;
                let Admission::Entered(payment, mut row) = admission else {
                    return Ok(admission);
                };
                row.version += i32::from(existing.is_some());
                Ok(Admission::Entered(payment, row))
            }
            _ => {
                tx.roll_back().await;
                Ok(admission)
            }
        }
    }

    async fn change_refund(&self, refund: &RefundRow) -> Result<bool, Failure> {
        let mut tx = self.0.transaction().await?;
        if !write_refund(&mut tx, refund).await? {
            tx.roll_back().await;
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn settle_refund(
        &self,
        refund: &RefundRow,
        result: Value,
    ) -> Result<Option<Done>, Failure> {
        let mut tx = self.0.transaction().await?;
        // The payment first, as at the admission: one order of locks.
        let amount = signed(refund.amount)?;
        row!(tx, Version, ADD_REFUNDED, &refund.reference, amount)?;
        if !write_refund(&mut tx, refund).await? {
            tx.roll_back().await;
            return Ok(None);
        }
        tx.succeed(result).await.map(Some)
    }
}

async fn read(tx: &mut Transaction, reference: &str) -> Result<Option<Payment>, Failure> {
    let found = row!(tx, PaymentColumns, PAYMENT, reference)?;
    found.map(Payment::try_from).transpose()
}

/// False if the row has changed since it was read.
async fn write(tx: &mut Transaction, payment: &Payment) -> Result<bool, Failure> {
    let decline = payment.decline.as_ref();
    let changed = row!(
        tx,
        Version,
        CHANGE,
        &payment.reference,
        payment.version,
        &payment.fingerprint,
        signed(payment.amount)?,
        &payment.currency,
        payment.state.as_str(),
        &payment.intent,
        &payment.charge,
        payment.generation,
        decline.map(|decline| storable(&decline.code)),
        decline.map(|decline| storable(&decline.message)),
        payment.told
    )?;
    Ok(changed.is_some())
}

async fn enter_refund(tx: &mut Transaction, row: &RefundRow, new: bool) -> Result<(), Failure> {
    if !new {
        // The payment is locked, and with it all its refunds.
        write_refund(tx, row).await?;
        return Ok(());
    }
    row!(
        tx,
        Version,
        ENTER_REFUND,
        row.job.to_string(),
        &row.reference,
        signed(row.amount)?,
        row.state.as_str(),
        row.round,
        row.generation,
        row.told,
        row.version,
        row.asked.map(signed).transpose()?
    )?;
    Ok(())
}

async fn write_refund(tx: &mut Transaction, row: &RefundRow) -> Result<bool, Failure> {
    let decline = row.decline.as_ref();
    let changed = row!(
        tx,
        Version,
        CHANGE_REFUND,
        row.job.to_string(),
        row.version,
        signed(row.amount)?,
        row.state.as_str(),
        &row.refund,
        row.round,
        row.generation,
        decline.map(|decline| storable(&decline.code)),
        decline.map(|decline| storable(&decline.message)),
        row.told,
        &row.reference,
        row.asked.map(signed).transpose()?
    )?;
    Ok(changed.is_some())
}

/// Both databases count with a sign; what the door lets through fits.
fn signed(amount: u64) -> Result<i64, Failure> {
    i64::try_from(amount)
        .map_err(|_| Failure::permanent("invalid_payload", "/amount: more than can be paid"))
}

/// PostgreSQL refuses NUL in text, and the gateway's texts are not ours.
fn storable(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(1000).collect()
}
