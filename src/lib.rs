//! Longshore runs background jobs on RabbitMQ and can prove that it lost none.
//!
//! A program built on it names its kinds and calls [`App::run`]; everything else (intake,
//! workers, relay, command line) comes with it.

pub mod admin;
mod app;
pub mod bench;
pub mod broker;
mod cli;
pub mod client;
pub mod config;
mod demo;
pub mod intake;
pub mod job;
pub mod liveness;
pub mod node;
pub mod relay;
pub mod store;
pub mod telemetry;
pub mod worker;

pub use app::App;
pub use demo::{Demo, DemoJob};

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So does that of the doors' page.
#[cfg(doctest)]
#[doc = include_str!("../docs/doors.md")]
struct Doors;
