//! Where a scenario runs: brokers of one kind that share fresh queues.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lapin::options::QueueDeleteOptions;
use longshore::broker::amqp::AmqpBroker;
use longshore::broker::embedded::EmbeddedBroker;
use longshore::broker::{Broker, Consumer, Delivery, Lane, Source};
use longshore::job::{JobId, Priority, Publication, QueueName};
use tokio::sync::RwLock;

/// Far longer than anything takes: a test that waits this long has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// One kind of broker.
#[async_trait]
pub(super) trait Setting: Sized + Send + Sync {
    async fn new() -> Self;
    /// A broker with these queues. Brokers of one setting see the same queues.
    async fn broker(&self, queues: &[QueueName]) -> Arc<dyn Broker>;
    async fn clean_up(&self, queues: &[QueueName]);
}

/// Held by every test that publishes; one that breaks what all publish through holds it alone.
pub(super) static EXCHANGE: RwLock<()> = RwLock::const_new(());

/// What a scenario gets: a broker with two fresh queues.
pub(super) struct Stage {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) queue: QueueName,
    pub(super) other: QueueName,
}

/// Runs a scenario, and cleans up where it succeeded: what failed is kept to be looked at.
pub(super) async fn run<S: Setting, F: Future<Output = ()> + Send>(scenario: fn(Stage) -> F) {
    let _whole = EXCHANGE.read().await;
    let setting = S::new().await;
    let queues = [fresh_queue(), fresh_queue()];
    let broker = setting.broker(&queues).await;
    let [queue, other] = queues.clone();
    scenario(Stage {
        broker: broker.clone(),
        queue,
        other,
    })
    .await;
    broker.close().await;
    setting.clean_up(&queues).await;
}

pub(super) fn fresh_queue() -> QueueName {
    let suffix = u64::from_be_bytes(uuid::Uuid::now_v7().as_bytes()[8..].try_into().unwrap());
    format!("t-{suffix:016x}").parse().unwrap()
}

pub(super) struct Embedded;

#[async_trait]
impl Setting for Embedded {
    async fn new() -> Self {
        Self
    }

    async fn broker(&self, queues: &[QueueName]) -> Arc<dyn Broker> {
        Arc::new(EmbeddedBroker::new(queues))
    }

    async fn clean_up(&self, _: &[QueueName]) {}
}

pub(super) struct RabbitMq {
    url: String,
}

#[async_trait]
impl Setting for RabbitMq {
    async fn new() -> Self {
        Self { url: amqp_url() }
    }

    async fn broker(&self, queues: &[QueueName]) -> Arc<dyn Broker> {
        Arc::new(AmqpBroker::connect(std::slice::from_ref(&self.url), queues).unwrap())
    }

    async fn clean_up(&self, queues: &[QueueName]) {
        let raw = Raw::connect().await;
        for queue in queues {
            raw.delete(queue).await;
        }
    }
}

/// The RabbitMQ to test against. Never skips.
pub(super) fn amqp_url() -> String {
    std::env::var("TEST_AMQP_URL").unwrap_or_else(|_| {
        panic!("TEST_AMQP_URL is not set: run the tests with `tests/run`, which starts RabbitMQ")
    })
}

/// RabbitMQ without Longshore in between.
pub(super) struct Raw {
    _connection: lapin::Connection,
    pub(super) channel: lapin::Channel,
}

impl Raw {
    pub(super) async fn connect() -> Self {
        let connection = lapin::Connection::connect(&amqp_url(), Default::default())
            .await
            .expect("TEST_AMQP_URL must be a RabbitMQ that runs");
        let channel = connection.create_channel().await.unwrap();
        Self {
            _connection: connection,
            channel,
        }
    }

    pub(super) async fn delete(&self, queue: &QueueName) {
        for lane in [Lane::Normal, Lane::High, Lane::Dead] {
            self.delete_one(&Source::new(queue.clone(), lane)).await;
        }
    }

    /// Deleting what is not there is no error to RabbitMQ.
    pub(super) async fn delete_one(&self, source: &Source) {
        self.channel
            .queue_delete(source.to_string().into(), QueueDeleteOptions::default())
            .await
            .unwrap();
    }
}

pub(super) fn publication(queue: &QueueName, payload: impl Into<Bytes>) -> Publication {
    Publication {
        id: JobId::new(),
        kind: "test.run".parse().unwrap(),
        queue: queue.clone(),
        priority: Priority::Normal,
        dispatch: 1,
        traceparent: None,
        payload: payload.into(),
    }
}

pub(super) fn numbered(queue: &QueueName, numbers: std::ops::Range<usize>) -> Vec<Publication> {
    numbers.map(|n| publication(queue, n.to_string())).collect()
}

pub(super) fn normal(queue: &QueueName) -> Source {
    Source::new(queue.clone(), Lane::Normal)
}

pub(super) fn dead(queue: &QueueName) -> Source {
    Source::new(queue.clone(), Lane::Dead)
}

/// Publishes and expects every confirm.
pub(super) async fn publish(broker: &dyn Broker, batch: &[Publication]) {
    for answer in within(broker.publish(batch)).await {
        answer.unwrap();
    }
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("nothing came in time")
}

pub(super) async fn next(consumer: &mut Consumer) -> Delivery {
    within(consumer.next()).await.expect("the consumer ended")
}

pub(super) async fn take(consumer: &mut Consumer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::with_capacity(count);
    for _ in 0..count {
        deliveries.push(next(consumer).await);
    }
    deliveries
}

/// Nothing comes now. Waits a little, since what must not come can only be waited for.
pub(super) async fn nothing(consumer: &mut Consumer) {
    let wait = tokio::time::timeout(Duration::from_millis(300), consumer.next());
    if let Ok(delivery) = wait.await {
        panic!("{delivery:?} came");
    }
}

pub(super) fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.message.body).into_owned()
}

pub(super) fn texts(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(text).collect()
}

pub(super) async fn registered(consumer: &Consumer) {
    let mut registered = consumer.registered();
    within(registered.wait_for(|registered| *registered))
        .await
        .unwrap();
}

/// Asks until the answer is right.
pub(super) async fn eventually<F: Future<Output = bool>>(what: &str, ask: impl Fn() -> F) {
    let asked = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| panic!("never came true: {what}"));
}

pub(super) async fn eventually_ready(broker: &dyn Broker, source: &Source, count: u64) {
    eventually(&format!("{source} has {count} messages"), || async {
        broker
            .status(source)
            .await
            .is_ok_and(|status| status.ready == count)
    })
    .await;
}
