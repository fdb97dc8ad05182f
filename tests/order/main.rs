//! Orders end to end: each way one can go, and hundreds of them while processes are killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../workers/email/mod.rs"]
mod email;
#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../workers/inventory/mod.rs"]
mod inventory;
#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../workers/order/mod.rs"]
mod order;
#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../workers/payment/mod.rs"]
mod payment;

mod kills;
mod money;
mod paths;
