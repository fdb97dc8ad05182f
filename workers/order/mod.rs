//! An order from the shelf to the receipt: four kinds, each a step, each started by the one before.
//!
//! ```text
//! order.place ──▶ order.charge ──▶ order.fulfil ──▶ email.send  the receipt
//!   reserves        charges     │    takes the stock
//!      │                        └▶ order.cancel ──▶ email.send  the apology
//!      └ no stock: email.send        frees the stock
//! ```
//!
//! A step's rows, its success and the job of the next step are one commit. So an order is always
//! at exactly one step, and a crash, wherever it comes, leaves either the step to be done again or
//! the next one to be done: nothing has to be looked for afterwards.
//!
//! # How a step follows another
//!
//! The steps are kinds of their own that do what `inventory.*` and `payment.charge` do with the
//! same code: [`perform`] moves stock inside any transaction, and [`Cashier::charge`] charges
//! without ending the job. The alternative, jobs that submit the stock kinds and then ask again and
//! again what has become of them, would keep two jobs and a poll for each step, and something would
//! have to decide what it means when the other job is cancelled, sent back or pruned. Only mails,
//! after which nothing follows, are jobs of a stock kind.
//!
//! Money is the one thing that is not a row here. `order.charge` names the payment by the order's
//! number, which is charged at most once ever; whatever a run left open, the next one finds out
//! (see [`crate::payment`]). Between the charge and the step that follows from it lies a crash
//! window: the job runs again, is told that the order is paid, and goes on.
//!
//! | what happens | the order ends |
//! |---|---|
//! | paid | stock taken, one receipt |
//! | too little stock, or no such SKU | one apology; nothing reserved, nothing charged |
//! | the card is declined | stock freed, one apology, nothing charged |
//! | the reservation expired, or was released, before it was paid | reserved anew and taken; if nothing is left, refunded, one apology |
//! | it is cancelled before money moves | stock freed, one apology; never charged under this number |
//! | it is cancelled while the bank takes its time | the cancellation waits; `order_paid` if it is paid |
//! | it is placed again after its money went back | stock freed; no receipt |
//!
//! What no rule covers (an order's number that stands for another order: `order_exists`,
//! `reference_reused`) is a dead letter, for people.

mod mails;
mod payload;
mod refunding;
mod steps;

#[allow(
    unused_imports,
    reason = "the program that takes orders only knows them all"
)]
pub(crate) use payload::{CancelOrder, ChargeOrder, FulfilOrder, Order, PlaceOrder};
#[allow(
    unused_imports,
    reason = "the program that takes orders only knows them all"
)]
pub(crate) use steps::again;

#[allow(dead_code, reason = "the program that takes orders only asks it")]
/// A paid order, not refunded, whose stock is not taken and that no job works on.
pub(crate) const BALANCE: longshore::store::Balance = longshore::store::Balance {
    name: "orders",
    postgres: include_str!("balance/postgres.sql"),
    sqlite: include_str!("balance/sqlite.sql"),
};

#[cfg(doc)]
use crate::{inventory::perform, payment::Cashier};
