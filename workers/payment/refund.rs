//! A refund, step by step. Making one is a single call, so the gateway's own list decides whether
//! it was made: it is asked before every try, and after every doubt.

use std::collections::BTreeMap;

use longshore::job::{Done, Failure, JobResult};
use serde_json::{Value, json};

use super::gateway::{
    Advice, Decline, GatewayError, JOB, REFERENCE, Refund, RefundOrder, RefundStatus,
};
use super::ledger::{Admission, RefundRequest};
use super::payload::RefundPayment;
use super::row::{Payment, PaymentState, RefundRow, RefundState};
use super::run::{POLL, Run, TURNS};

type Step = Result<Option<Done>, Failure>;

impl Run<'_> {
    /// Gives money back, or finds out that it was done.
    ///
    /// # Errors
    /// By the table in the documentation of [`super`].
    pub(crate) async fn refund(&self, refund: &RefundPayment) -> JobResult {
        let request = RefundRequest {
            job: self.who.job,
            earlier: self.who.earlier,
            reference: &refund.reference,
            amount: refund.amount,
        };
        for _ in 0..TURNS {
            let (payment, row) = match self.ledger.enter_refund(&request).await? {
                Admission::Entered(payment, row) => (payment, row),
                Admission::Unknown => return Err(unknown(refund)),
                Admission::NotCharged(payment) => return Err(not_charged(&payment)),
                Admission::Unfinished { payment, alive } => {
                    self.charge_to_finish(payment, alive).await?;
                    continue;
                }
                Admission::Reused(row) => return Err(reused(&row)),
                Admission::Misstep(message) => {
                    return Err(Failure::permanent("invalid_amount", message));
                }
                Admission::Exceeds { left, asked } => return Err(exceeds(left, asked)),
            };
            let step = match row.state {
                RefundState::Succeeded => Done::with(result(&payment, &row)).map(Some),
                RefundState::Refused => Err(row.refusal()),
                RefundState::Open => self.give_back(refund, &payment, row).await,
            };
            if let Some(done) = step? {
                return Ok(done);
            }
        }
        Err(Self::contended())
    }

    /// Waits for the charge, or learns what has become of it where no job of its own does.
    async fn charge_to_finish(&self, payment: Payment, alive: bool) -> Result<(), Failure> {
        if !alive && payment.intent.is_none() {
            return Err(not_charged(&payment));
        }
        if !alive && self.learn(payment.clone()).await? {
            return Ok(());
        }
        let message = format!("the payment `{}` is not made yet", payment.reference);
        Err(Failure::waiting("charge_unfinished", message, POLL))
    }

    async fn give_back(&self, refund: &RefundPayment, payment: &Payment, row: RefundRow) -> Step {
        let intent = payment.intent.clone().unwrap_or_default();
        let made = match self.gateway.refunds(&intent).await {
            Ok(made) => made,
            Err(error) => return Err(self.doubt(&error)),
        };
        if let Some(ours) = ours(&made, &row) {
            return self.settle_refund(payment, row, ours).await;
        }
        // The gateway's truth: it may have given money back that no job of ours asked for.
        let left = payment.amount.saturating_sub(total(&made));
        if row.amount > left {
            return self.refuse_refund(row, exceeding(left)).await;
        }
        let order = RefundOrder {
            intent: intent.clone(),
            amount: row.amount,
            currency: payment.currency.clone(),
            reason: refund.reason.map(super::payload::RefundReason::as_str),
            metadata: BTreeMap::from([
                (JOB.to_owned(), row.tag()),
                (REFERENCE.to_owned(), row.reference.clone()),
            ]),
        };
        self.still_wanted()?;
        let key = format!("longshore:{}:refund:{}", row.job, row.generation);
        match self.gateway.refund(&order, &key).await {
            Ok(made) => self.settle_refund(payment, row, &made).await,
            Err(error) => self.not_refunded(payment, row, &error).await,
        }
    }

    async fn not_refunded(&self, payment: &Payment, row: RefundRow, error: &GatewayError) -> Step {
        let intent = payment.intent.clone().unwrap_or_default();
        let made = match self.gateway.refunds(&intent).await {
            Ok(made) => made,
            Err(_) => return Err(self.doubt(error)),
        };
        if let Some(ours) = ours(&made, &row) {
            return self.settle_refund(payment, row, ours).await;
        }
        let row = match error.spent_the_key() {
            true => {
                let renewed = RefundRow {
                    generation: row.generation.saturating_add(1),
                    ..row
                };
                if !self.ledger.change_refund(&renewed).await? {
                    return Ok(None);
                }
                changed(renewed)
            }
            false => row,
        };
        if error.spent_the_key() {
            return Ok(None);
        }
        let left = payment.amount.saturating_sub(total(&made));
        match error.advice {
            Advice::Permanent | Advice::Declined if row.amount > left => {
                self.refuse_refund(row, exceeding(left)).await
            }
            Advice::Permanent | Advice::Declined => {
                let decline = Decline {
                    code: error.code.clone(),
                    message: error.message.clone(),
                };
                self.refuse_refund(row, decline).await
            }
            // Another call with the same key may be under way, of this run or of one before, and
            // may yet give the money back.
            Advice::Retry | Advice::Unavailable => Err(self.doubt(error)),
        }
    }

    async fn settle_refund(&self, payment: &Payment, row: RefundRow, made: &Refund) -> Step {
        match made.status {
            RefundStatus::Succeeded => {
                let done = RefundRow {
                    state: RefundState::Succeeded,
                    refund: Some(made.id.clone()),
                    amount: made.amount,
                    decline: None,
                    ..row
                };
                let result = result(payment, &done);
                self.ledger.settle_refund(&done, result).await
            }
            RefundStatus::Pending => {
                let message = "the gateway has not given the money back yet";
                Err(Failure::waiting("refund_pending", message, POLL))
            }
            RefundStatus::Failed => {
                let decline = Decline {
                    code: "refund_failed".to_owned(),
                    message: format!("the gateway could not give the money back ({})", made.id),
                };
                self.refuse_refund(row, decline).await
            }
        }
    }

    async fn refuse_refund(&self, row: RefundRow, decline: Decline) -> Step {
        let refused = RefundRow {
            state: RefundState::Refused,
            decline: Some(decline),
            told: self.who.earlier,
            ..row
        };
        match self.ledger.change_refund(&refused).await? {
            true => Err(refused.refusal()),
            false => Ok(None),
        }
    }
}

fn ours<'r>(made: &'r [Refund], row: &RefundRow) -> Option<&'r Refund> {
    let tag = row.tag();
    made.iter()
        .find(|refund| refund.job.as_deref() == Some(tag.as_str()))
}

/// What was given back, or is about to be.
fn total(made: &[Refund]) -> u64 {
    made.iter()
        .filter(|refund| refund.status != RefundStatus::Failed)
        .fold(0, |sum: u64, refund| sum.saturating_add(refund.amount))
}

fn changed(row: RefundRow) -> RefundRow {
    RefundRow {
        version: row.version.saturating_add(1),
        ..row
    }
}

fn result(payment: &Payment, row: &RefundRow) -> Value {
    json!({
        "reference": row.reference, "status": "succeeded", "amount": row.amount,
        "currency": payment.currency, "payment_intent": payment.intent, "refund": row.refund,
    })
}

fn unknown(refund: &RefundPayment) -> Failure {
    let message = format!("nothing was ever charged as `{}`", refund.reference);
    Failure::permanent("unknown_reference", message)
}

fn not_charged(payment: &Payment) -> Failure {
    let reference = &payment.reference;
    let why = match payment.state {
        PaymentState::Refused => "was refused",
        _ => "was given up",
    };
    let message = format!("the payment `{reference}` {why}: nothing was charged");
    Failure::permanent("not_charged", message)
}

fn reused(row: &RefundRow) -> Failure {
    let (amount, reference) = (row.amount, &row.reference);
    let how = match row.state {
        RefundState::Succeeded => "has given back",
        _ => "is giving back",
    };
    let message = format!(
        "this job {how} {amount} of `{reference}`, as it first said; for another refund submit a \
         new job"
    );
    Failure::permanent("refund_reused", message)
}

fn exceeds(left: u64, asked: Option<u64>) -> Failure {
    let asked = asked.map_or_else(|| "all".to_owned(), |amount| amount.to_string());
    let message = format!("{asked} was to be refunded, and {left} is left of the charge");
    Failure::permanent("refund_exceeds_charge", message)
}

fn exceeding(left: u64) -> Decline {
    Decline {
        code: "refund_exceeds_charge".to_owned(),
        message: format!("by the gateway's list of refunds {left} is left of the charge"),
    }
}
