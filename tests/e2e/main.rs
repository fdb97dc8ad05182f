//! The program as its users meet it: the command line, the HTTP API and real mail, embedded
//! and on RabbitMQ and PostgreSQL.
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

mod api;
mod auditing;
mod bench;
mod client;
mod command_line;
mod dev;
mod diagnosis;
mod docs;
mod doctor;
mod fuzzing;
mod installation;
mod keys;
mod letters;
mod mail;
mod metrics;
mod operating;
mod overload;
mod queues;
mod reading;
mod settings;
mod slow_clients;
mod submitting;
mod templates;
mod verifying;
