//! RabbitMQ, through lapin.
//!
//! Connections come from a pool; a channel belongs to one task and is never shared. One task
//! publishes, on a connection of its own, so that an alarm that blocks publishers never holds
//! up an acknowledgement. Each consumer has a task that keeps it subscribed. lapin's own
//! recovery stays off: what is lost with a channel is decided here.

mod connection;
mod consumer;
mod greeting;
mod limit;
mod message;
mod publisher;
mod round_trip;
mod settling;
mod topology;
mod unreadable;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::Connections;
use self::consumer::Supervisor;
use self::publisher::Publisher;
use self::topology::Topology;
use super::{
    Broker, BrokerError, Consumer, NodeStatus, ObjectStatus, PublishError, QueueStatus, Source,
};
use crate::job::{Publication, QueueName};

/// How long closing waits for acknowledgements to be written.
const GOODBYE: Duration = Duration::from_secs(5);

/// RabbitMQ 3.10 or later.
#[derive(Debug)]
pub struct AmqpBroker {
    connections: Arc<Connections>,
    topology: Arc<Topology>,
    publisher: Publisher,
    tasks: TaskTracker,
    closed: CancellationToken,
}

impl AmqpBroker {
    /// A broker at the first of `urls` (`amqp://` or `amqps://`) that answers, with these
    /// queues. Connects in the background, for as long as it takes; must be called within a
    /// Tokio runtime.
    ///
    /// # Errors
    /// [`BrokerError::Url`] when a URL is malformed. It never shows the URL.
    pub fn connect(urls: &[String], queues: &[QueueName]) -> Result<Self, BrokerError> {
        let closed = CancellationToken::new();
        let consumers = queues.len() * topology::LANES.len();
        let connections = Connections::new(urls, consumers, closed.clone())?;
        let connections = Arc::new(connections);
        let topology = Arc::new(Topology::new(queues));
        let (publisher, publishing) =
            Publisher::new(connections.clone(), topology.clone(), closed.clone());
        let tasks = TaskTracker::new();
        tasks.spawn(publishing);
        Ok(Self {
            connections,
            topology,
            publisher,
            tasks,
            closed,
        })
    }
}

impl Drop for AmqpBroker {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

#[async_trait]
impl Broker for AmqpBroker {
    async fn publish(&self, batch: &[Publication]) -> Vec<Result<(), PublishError>> {
        self.publisher.publish(batch).await
    }

    fn accepts(&self) -> bool {
        self.publisher.is_open()
    }

    async fn consume(&self, source: Source, prefetch: u16) -> Consumer {
        let (feed, consumer) = super::consumer(prefetch);
        let supervisor = Supervisor {
            connections: self.connections.clone(),
            topology: self.topology.clone(),
            source,
            prefetch,
            closed: self.closed.clone(),
        };
        self.tasks.spawn(supervisor.run(feed));
        consumer
    }

    async fn status(&self, source: &Source) -> Result<QueueStatus, BrokerError> {
        let link = self.connections.open().await?;
        topology::status(&link, source).await
    }

    async fn declare(&self) -> Result<(), BrokerError> {
        let link = self.connections.open().await?;
        self.topology.declare(&link).await
    }

    async fn topology(&self) -> Result<Vec<ObjectStatus>, BrokerError> {
        let link = self.connections.open().await?;
        self.topology.inspect(&link).await
    }

    async fn round_trip(&self) -> Result<(), BrokerError> {
        let link = self.connections.open().await?;
        let done = round_trip::run(&link).await;
        if done.is_err() {
            // An alarm blocks the whole connection.
            connection::discard(link);
        }
        done
    }

    fn created(&self) -> broadcast::Receiver<QueueName> {
        self.topology.created.subscribe()
    }

    async fn version(&self) -> Result<String, BrokerError> {
        self.connections.version().await
    }

    async fn nodes(&self) -> Vec<NodeStatus> {
        self.connections.nodes().await
    }

    async fn close(&self) {
        self.closed.cancel();
        self.tasks.close();
        // Their last acknowledgements, unless the broker does not take them.
        let _ = tokio::time::timeout(GOODBYE, self.tasks.wait()).await;
        self.connections.close().await;
    }
}
