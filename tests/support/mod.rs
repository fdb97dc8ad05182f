//! What integration tests share: real services that a test may start, kill, freeze and wipe,
//! the real program as a process, a real SMTP server, and a plain HTTP client.
//!
//! `tests/run` installs what these need and says where it is; see [`places`].
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "every test target compiles this module and uses a part of it"
)]

pub mod dir;
pub mod door;
pub mod epmd;
pub mod http;
pub mod places;
pub mod port;
pub mod postgres;
pub mod process;
pub mod program;
pub mod rabbit;
pub mod record;
pub mod services;
pub mod shared;
pub mod smtp;
pub mod wait;
pub mod watchdog;
