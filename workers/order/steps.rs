use std::time::Duration;

use longshore::job::{ErrorClass, Failure, JobResult};
use longshore::worker::{Attempt, Invalid, Job, NextJob, Transaction};
use serde_json::json;

use super::mails::{apology, receipt};
use super::payload::{CancelOrder, ChargeOrder, FulfilOrder, Order, PlaceOrder};
use crate::inventory::{Request, Stop, perform};
use crate::payment::{Cashier, RefundPayment};

impl Job for PlaceOrder {
    const KIND: &'static str = "order.place";
    type Context = ();

    fn validate(&self) -> Result<(), Vec<Invalid>> {
        self.0.check()
    }

    fn example() -> Option<Self> {
        Some(Self(Order::example()))
    }

    async fn run(self, (): &(), attempt: &Attempt) -> JobResult {
        let Self(order) = self;
        let mut tx = attempt.transaction().await?;
        match stock(&mut tx, attempt, Request::Reserve(&order.reservation())).await {
            Ok(()) => {
                let next = NextJob::new(&ChargeOrder(order.clone()))?;
                tx.submit(next.tag(order.tag()))?;
                tx.succeed(json!({"reserved": true})).await
            }
            Err(No::Refused(code, why))
                if ["insufficient_stock", "unknown_sku"].contains(&code.as_str()) =>
            {
                tx.roll_back().await;
                let mut tx = attempt.transaction().await?;
                tx.submit(apology(&order, &why)?)?;
                tx.succeed(json!({"reserved": false, "reason": code})).await
            }
            Err(no) => Err(no.into_failure(tx).await),
        }
    }
}

impl Job for ChargeOrder {
    const KIND: &'static str = "order.charge";
    type Context = Cashier;

    fn validate(&self) -> Result<(), Vec<Invalid>> {
        self.0.check()
    }

    /// A crash between the charge and the commit of what follows from it runs it again: then the
    /// payment is read, not made.
    async fn run(self, cashier: &Cashier, attempt: &Attempt) -> JobResult {
        let Self(order) = self;
        let (next, paid) = match cashier.charge(&order.charge(), attempt).await {
            Ok(_) => (NextJob::new(&FulfilOrder(order.clone()))?, true),
            Err(failure) if declined(&failure) => {
                let reason = failure.error().message.clone();
                let order = order.clone();
                (NextJob::new(&CancelOrder { order, reason })?, false)
            }
            Err(failure) => return Err(failure),
        };
        let mut tx = attempt.transaction().await?;
        tx.submit(next.tag(order.tag()))?;
        tx.succeed(json!({"paid": paid})).await
    }
}

/// True if the gateway will never have the money. Another payment under the same number is none of
/// this order's business, and is for people to look at.
fn declined(failure: &Failure) -> bool {
    let error = failure.error();
    error.class == ErrorClass::Permanent && error.code != "reference_reused"
}

impl Job for FulfilOrder {
    const KIND: &'static str = "order.fulfil";
    type Context = ();

    fn validate(&self) -> Result<(), Vec<Invalid>> {
        self.0.check()
    }

    async fn run(self, (): &(), attempt: &Attempt) -> JobResult {
        let Self(order) = self;
        let mut tx = attempt.transaction().await?;
        match stock(&mut tx, attempt, Request::Commit(&order.order)).await {
            Ok(()) => fulfilled(tx, &order).await,
            // It was paid too late: the units may be gone.
            Err(No::Refused(code, _)) if code == "reservation_expired" => {
                tx.roll_back().await;
                late(&order, attempt).await
            }
            Err(no) => Err(no.into_failure(tx).await),
        }
    }
}

async fn fulfilled(mut tx: Transaction, order: &Order) -> JobResult {
    tx.submit(receipt(order)?)?;
    tx.succeed(json!({"fulfilled": true})).await
}

/// Takes the units all the same if there are any left; else gives the money back.
async fn late(order: &Order, attempt: &Attempt) -> JobResult {
    let mut tx = attempt.transaction().await?;
    let reservation = order.reservation();
    let taken = match stock(&mut tx, attempt, Request::Reserve(&reservation)).await {
        Ok(()) => stock(&mut tx, attempt, Request::Commit(&order.order)).await,
        no => no,
    };
    match taken {
        Ok(()) => fulfilled(tx, order).await,
        Err(No::Refused(code, why)) if code == "insufficient_stock" => {
            tx.roll_back().await;
            let mut tx = attempt.transaction().await?;
            let refund = RefundPayment {
                reference: order.order.clone(),
                amount: None,
                reason: None,
            };
            let refund = NextJob::new(&refund)?.once(format!("refund:{}", order.order));
            tx.submit(refund.tag(order.tag()))?;
            let reason = format!("{why}; what you had paid is on its way back");
            tx.submit(apology(order, &reason)?)?;
            tx.succeed(json!({"fulfilled": false, "reason": code}))
                .await
        }
        Err(no) => Err(no.into_failure(tx).await),
    }
}

impl Job for CancelOrder {
    const KIND: &'static str = "order.cancel";
    type Context = ();

    fn validate(&self) -> Result<(), Vec<Invalid>> {
        self.order.check()
    }

    async fn run(self, (): &(), attempt: &Attempt) -> JobResult {
        let order = &self.order;
        let mut tx = attempt.transaction().await?;
        match stock(&mut tx, attempt, Request::Release(&order.order)).await {
            Ok(()) => {
                tx.submit(apology(order, &self.reason)?)?;
                tx.succeed(json!({"released": true})).await
            }
            Err(no) => Err(no.into_failure(tx).await),
        }
    }
}

/// Why stock was not moved; the transaction must be ended by [`No::into_failure`], or rolled back.
enum No {
    /// With the code, and the reason for people.
    Refused(String, String),
    Failed(Failure),
    /// What had expired was freed first: to be committed, and the step begun anew.
    Freed,
}

impl No {
    async fn into_failure(self, tx: Transaction) -> Failure {
        match self {
            Self::Refused(code, why) => {
                tx.roll_back().await;
                Failure::permanent(&code, why)
            }
            Self::Failed(failure) => {
                tx.roll_back().await;
                failure
            }
            Self::Freed => match tx.commit().await {
                Ok(()) => again(),
                Err(failure) => failure,
            },
        }
    }
}

/// Counts nothing.
pub(crate) fn again() -> Failure {
    let message = "reservations that had expired were freed first";
    Failure::waiting("stock_freed", message, Duration::from_millis(50))
}

/// Does what a stock job does, in this transaction.
async fn stock(tx: &mut Transaction, attempt: &Attempt, request: Request<'_>) -> Result<(), No> {
    match perform(tx.connection(), attempt.job_id(), request).await {
        Ok(_) => Ok(()),
        Err(Stop::Refused(refusal)) => Err(No::Refused(refusal.code(), refusal.to_string())),
        Err(Stop::Freed) => Err(No::Freed),
        Err(Stop::Database(error)) => Err(No::Failed(tx.failure(error))),
    }
}
