use std::time::Duration;

use longshore::job::{ErrorClass, Failure, JobResult};
use longshore::worker::{Attempt, Invalid, Job, NextJob, Transaction};
use serde_json::json;

use super::mails::{apology, reason, receipt, refunded};
use super::payload::{CancelOrder, ChargeOrder, FulfilOrder, Order, PlaceOrder};
use super::refunding::is_refunding;
use crate::inventory::{Request, Stop, perform};
use crate::payment::{Cashier, Fate, RefundPayment, fate, withdraw};

/// How often an order that is to be cancelled asks what has become of its charge.
const POLL: Duration = Duration::from_secs(5);

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
            Err(No::Refused(code, _))
                if ["insufficient_stock", "unknown_sku"].contains(&code.as_str()) =>
            {
                tx.roll_back().await;
                let mut tx = attempt.transaction().await?;
                tx.submit(apology(&order, reason(&code))?)?;
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
        let (refusal, payment) = match cashier.charge(&order.charge(), attempt).await {
            Ok(done) => (None, done.result().cloned()),
            Err(failure) if declined(&failure) => (Some(failure.error().code.clone()), None),
            Err(failure) => return Err(failure),
        };
        let mut tx = attempt.transaction().await?;
        let refusal = match refusal {
            None if is_refunding(&mut tx, &order).await? => Some("payment_refunded".to_owned()),
            refusal => refusal,
        };
        // The payment itself too: the ledger is balanced against what jobs say.
        let mut result = payment.unwrap_or_else(|| json!({}));
        result["paid"] = json!(refusal.is_none());
        let next = match refusal {
            None => NextJob::new(&FulfilOrder(order.clone()))?,
            Some(code) => NextJob::new(&CancelOrder {
                order: order.clone(),
                reason: reason(&code).to_owned(),
            })?,
        };
        tx.submit(next.tag(order.tag()))?;
        tx.succeed(result).await
    }
}

/// True if the gateway will never have the money, or not any more. Another payment under the same number is none of
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
            // It was paid too late, or somebody freed them meanwhile: the units may be gone.
            Err(No::Refused(code, _))
                if ["reservation_expired", "reservation_released"].contains(&code.as_str()) =>
            {
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

/// Takes the units all the same if there are any left; else gives the money back. Nothing is taken
/// for money that was given back.
async fn late(order: &Order, attempt: &Attempt) -> JobResult {
    let mut tx = attempt.transaction().await?;
    match money(&mut tx, order).await? {
        Money::Ours => {}
        Money::GivenBack => {
            tx.submit(refunded(order)?)?;
            let result = json!({"fulfilled": false, "reason": "payment_refunded"});
            return tx.succeed(result).await;
        }
        Money::GivenBackInPart => {
            tx.roll_back().await;
            let message = "a part of the payment was given back, and no stock is set aside";
            return Err(Failure::permanent("payment_refunded", message));
        }
        // Nobody has charged it, and nothing follows from that here.
        Money::None | Money::Moving => {
            tx.roll_back().await;
            return Err(Failure::permanent("not_charged", "the order is not paid"));
        }
    }
    let reservation = order.reservation();
    let taken = match stock(&mut tx, attempt, Request::Reserve(&reservation)).await {
        Ok(()) => stock(&mut tx, attempt, Request::Commit(&order.order)).await,
        no => no,
    };
    match taken {
        Ok(()) => fulfilled(tx, order).await,
        Err(No::Refused(code, _)) if code == "insufficient_stock" => {
            tx.roll_back().await;
            let mut tx = attempt.transaction().await?;
            let refund = RefundPayment {
                reference: order.order.clone(),
                amount: None,
                reason: None,
            };
            let refund = NextJob::new(&refund)?.once(format!("refund:{}", order.order));
            tx.submit(refund.tag(order.tag()))?;
            tx.submit(refunded(order)?)?;
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
        let inside =
            |found: Invalid| Invalid::new(format!("/order{}", found.pointer), found.message);
        let checked = self.order.check();
        checked.map_err(|wrong| wrong.into_iter().map(inside).collect())
    }

    /// Beside a charge that nobody waits for: an order is freed only when its money can move no
    /// more, which the payment's row, locked in this transaction, tells.
    async fn run(self, (): &(), attempt: &Attempt) -> JobResult {
        let order = &self.order;
        let mut tx = attempt.transaction().await?;
        withdraw(&mut tx, &order.charge(), attempt.job_id()).await?;
        let mail = match money(&mut tx, order).await? {
            Money::None => apology(order, &self.reason)?,
            Money::GivenBack => refunded(order)?,
            Money::Moving => {
                tx.roll_back().await;
                let message = "the order is being charged; it is cancelled if that fails";
                return Err(Failure::waiting("payment_unfinished", message, POLL));
            }
            Money::Ours | Money::GivenBackInPart => {
                tx.roll_back().await;
                let message = "the order is paid: give all of it back first, by payment.refund";
                return Err(Failure::permanent("order_paid", message));
            }
        };
        match stock(&mut tx, attempt, Request::Release(&order.order)).await {
            Ok(()) => {
                tx.submit(mail)?;
                tx.succeed(json!({"released": true})).await
            }
            Err(no) => Err(no.into_failure(tx).await),
        }
    }
}

/// Whose an order's money is.
enum Money {
    /// Not paid, and it will not be unless somebody asks for it anew.
    None,
    /// The gateway may be at it.
    Moving,
    Ours,
    GivenBackInPart,
    /// Or about to be.
    GivenBack,
}

/// Locks the payment. Before the stock: one order of locks.
async fn money(tx: &mut Transaction, order: &Order) -> Result<Money, Failure> {
    Ok(match fate(tx, &order.order).await? {
        Fate::Unpaid => Money::None,
        Fate::Unfinished => Money::Moving,
        Fate::Paid { amount, given_back } if given_back >= amount => Money::GivenBack,
        Fate::Paid { .. } if is_refunding(tx, order).await? => Money::GivenBack,
        Fate::Paid { given_back, .. } if given_back > 0 => Money::GivenBackInPart,
        Fate::Paid { .. } => Money::Ours,
    })
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
