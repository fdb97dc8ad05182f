//! What the platform promises when processes, the broker or the database die, freeze or lose
//! their data. Every test starts its own RabbitMQ and PostgreSQL, works them hard, and counts
//! what really ran by the marks that the probe program leaves.
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

#[path = "../support/mod.rs"]
mod support;

mod alarms;
mod broker;
mod closing;
mod cluster;
mod count;
mod database;
mod deploy;
mod doors;
mod full;
mod load;
mod marks;
mod messages;
mod network;
mod operating;
mod outage;
mod pause;
mod poison;
mod progress;
mod proxy;
mod silence;
mod site;
mod versions;
mod waiting;
mod workers;
