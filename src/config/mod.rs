//! `queues.toml` and the environment, read into validated types.
//!
//! [`Queues`] is the queue file; [`SettingsArgs`] are the flags and environment variables as
//! they were given, and [`Settings`] what they mean. Both report everything that is wrong at
//! once, each error with the key and the fix.
//!
//! **Invariant:** no secret leaves this module in a message: [`Secret`] does not show its
//! content, and errors about secret settings never quote the value.

mod args;

mod duration;
mod error;
mod limits;
mod parse;
mod queues;
mod secret;
mod section;
mod settings;
mod suggest;
mod syntax;
mod urls;
mod worker;

pub use args::SettingsArgs;
pub use error::{ConfigError, Position, SettingError};
pub use queues::{BENCH_KIND, BENCH_QUEUE, BreakerConfig, QueueConfig, Queues};
pub use secret::Secret;
pub use settings::{DEFAULT_HEALTH_LISTEN, DEFAULT_LISTEN, LogFormat, Need, Settings};
pub use suggest::closest;
pub use urls::{AmqpUrls, BrokerUrl, DatabaseUrl};
pub use worker::WorkerSettings;
