//! The services that fault tests own.

pub use super::postgres::Postgres;
pub use super::rabbit::Rabbit;
pub use super::smtp::SmtpSink;
