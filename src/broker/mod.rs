//! Moves work to workers, with back-pressure. Everything on it can be rebuilt from the store.
//!
//! [`Broker`] is what the platform asks of a message broker; [`amqp`] (RabbitMQ) and
//! [`embedded`] answer, and `tests/conformance/broker` holds both to the same answers.

pub mod amqp;
mod consumer;
mod created;
pub mod embedded;
mod error;
mod topology;

use std::fmt;

use async_trait::async_trait;
use tokio::sync::broadcast;

pub use consumer::{Consumer, ConsumerFeed, Delivery, Settlement, Verdict, consumer};
pub use error::{BrokerError, PublishError};
pub use topology::{Lane, NodeStatus, ObjectStatus, QueueStatus, Source};

use crate::job::{Publication, QueueName};

/// A message broker. Implementations reconnect by themselves, for ever, with backoff; a
/// method that needs a connection now says so when there is none.
#[async_trait]
pub trait Broker: Send + Sync + fmt::Debug + 'static {
    /// Publishes messages and waits until the broker has each on disk, or until it is certain
    /// or likely that it has not. Answers in the order of the batch. An error means "perhaps":
    /// publishing the same dispatch again is harmless.
    async fn publish(&self, batch: &[Publication]) -> Vec<Result<(), PublishError>>;

    /// Whether a publish has a chance now: connected, and the broker raises no alarm. A moment's
    /// view, for those who would otherwise publish what can wait.
    fn accepts(&self) -> bool;

    /// Consumes a queue until [`Consumer::stop`]. Does not fail: while the broker cannot be
    /// reached, or the queue is gone, the consumer tries again (declaring what is missing).
    /// `prefetch` bounds the deliveries that are not settled.
    async fn consume(&self, source: Source, prefetch: u16) -> Consumer;

    /// Messages and consumers of a queue now.
    ///
    /// # Errors
    /// When the broker cannot be reached, or the queue does not exist.
    async fn status(&self, source: &Source) -> Result<QueueStatus, BrokerError>;

    /// Declares everything that is missing. Idempotent. Every queue that had to be created is
    /// also announced by [`Broker::created`].
    ///
    /// # Errors
    /// When the broker cannot be reached, or an object exists with other arguments: the error
    /// names both.
    async fn declare(&self) -> Result<(), BrokerError>;

    /// Every object this configuration needs and whether it is there, without changing anything.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    async fn topology(&self) -> Result<Vec<ObjectStatus>, BrokerError>;

    /// Sends a message there and back, through the jobs' exchange and a queue of its own that is
    /// gone afterwards: needs all that publishing and consuming jobs does.
    ///
    /// # Errors
    /// Where it got stuck.
    async fn round_trip(&self) -> Result<(), BrokerError>;

    /// Queues (their normal or high lane) that had to be created anew, whenever that happens:
    /// whatever they held is lost and must be published again.
    fn created(&self) -> broadcast::Receiver<QueueName>;

    /// What broker this is, for people: `RabbitMQ 3.10.8`. Never a URL.
    ///
    /// # Errors
    /// When it cannot be reached.
    async fn version(&self) -> Result<String, BrokerError>;

    /// Asks every broker that the settings name, each by itself: the nodes of one cluster. None
    /// where the broker is in this process.
    async fn nodes(&self) -> Vec<NodeStatus> {
        Vec::new()
    }

    /// Closes every connection. Consumers end.
    async fn close(&self);
}
