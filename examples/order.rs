//! A shop's program: the stock kinds, and orders that go through them end to end.
//!
//! What a step is, and how one follows another, is told in `workers/order/mod.rs`, where the flow is
//! (`longshore dev --demo` runs it, too). This program is what a shop would start, with the whole
//! command line: `cargo run --example order -- dev`, then
//!
//! ```sh
//! cargo run --example order -- submit inventory.adjust '{"sku": "TEA-250", "delta": 40, "reason": "delivery"}'
//! cargo run --example order -- submit order.place '{"order": "o-1", "items": [{"sku": "TEA-250", "quantity": 2}],
//!   "amount": 4200, "currency": "EUR", "payment_method": "pm_card_visa", "email": "ada@example.com"}'
//! cargo run --example order -- jobs list --tag order:o-1
//! ```
#![allow(
    dead_code,
    unused_imports,
    reason = "the stock program uses more of these modules"
)]

#[path = "../workers/email/mod.rs"]
mod email;
#[path = "../workers/inventory/mod.rs"]
mod inventory;
#[path = "../workers/order/mod.rs"]
mod order;
#[path = "../workers/payment/mod.rs"]
mod payment;

use std::process::ExitCode;

use email::{Mailer, SendEmail};
use inventory::{AdjustStock, CommitStock, ReleaseStock, ReserveStock};
use order::{CancelOrder, ChargeOrder, FulfilOrder, PlaceOrder};
use payment::{Cashier, ChargePayment, RefundPayment};

fn main() -> ExitCode {
    longshore::App::new()
        .job::<PlaceOrder>("orders", ())
        .job_with::<ChargeOrder>("payment", Cashier::for_jobs)
        .job::<FulfilOrder>("orders", ())
        .job::<CancelOrder>("orders", ())
        .job_with::<SendEmail>("email", Mailer::for_jobs)
        .job_with::<ChargePayment>("payment", Cashier::for_jobs)
        .job_with::<RefundPayment>("payment", Cashier::for_jobs)
        .job::<AdjustStock>("inventory", ())
        .job::<ReserveStock>("inventory", ())
        .job::<CommitStock>("inventory", ())
        .job::<ReleaseStock>("inventory", ())
        .migrations(payment::TABLES)
        .migrations(inventory::TABLES)
        .balance(payment::BALANCE)
        .balance(inventory::BALANCE)
        .balance(order::BALANCE)
        .run()
}
