//! The payment worker: its protocol at every crash point, its reading of a gateway's answers, and
//! the whole program against a gateway that loses answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::too_many_lines,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../workers/payment/mod.rs"]
mod payment;
#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod balance;
mod bench;
mod classes;
mod embedded;
mod fate;
mod faults;
mod gateway;
mod memory;
mod orphans;
mod outage;
mod protocol;
mod refunds;
mod requests;
mod scripted;
mod silence;
mod till;
mod zombies;
