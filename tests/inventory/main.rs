//! Handlers whose effect is rows, and the stock worker, which is made of them; on both stores.
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
#[path = "../../workers/inventory/mod.rs"]
mod inventory;

mod expiry;
mod handlers;
mod histories;
mod hot;
mod kills;
mod rules;
mod site;
