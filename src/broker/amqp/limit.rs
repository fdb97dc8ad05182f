//! What `longshore bench` asks of RabbitMQ beside the platform: how fast it is by itself, and
//! that nothing of the bench is left.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};

use super::AmqpBroker;
use super::connection::answer;
use super::topology::{LANES, unavailable};
use crate::broker::{BrokerError, Source};
use crate::job::QueueName;

/// Messages in flight, as in the platform.
const WINDOW: usize = 2_000;
const PREFETCH: u16 = 2_000;
/// Deliveries acknowledged together.
const ACK_EVERY: u64 = 500;
/// A queue of its own: what is measured is one quorum queue and nothing else.
const QUEUE: &str = "longshore.bench.limit";

impl AmqpBroker {
    /// How long as many messages take through one quorum queue with nothing else: persistent,
    /// pipelined, confirmed, consumed and acknowledged, on a connection each way.
    ///
    /// # Errors
    /// When the broker cannot be reached or refuses.
    pub async fn raw_speed(&self, jobs: u64, payload: usize) -> Result<Duration, BrokerError> {
        let (out, back) = (
            self.connections.open().await?,
            self.connections.open().await?,
        );
        let measured = async {
            let (out, back) = (out.create_channel().await?, back.create_channel().await?);
            declare(&out).await?;
            let started = Instant::now();
            futures::try_join!(publish(&out, jobs, payload), consume(&back, jobs))?;
            let took = started.elapsed();
            let all = QueueDeleteOptions::default();
            answer(out.queue_delete(QUEUE.into(), all)).await?;
            Ok(took)
        };
        measured
            .await
            .map_err(|error: lapin::Error| unavailable(&error))
    }

    /// Deletes queues with their lanes and whatever they hold.
    ///
    /// # Errors
    /// When the broker cannot be reached or refuses.
    pub async fn remove(&self, queues: &[QueueName]) -> Result<(), BrokerError> {
        let link = self.connections.open().await?;
        let removed = async {
            let channel = answer(link.create_channel()).await?;
            let each = |queue| LANES.into_iter().map(move |lane| (queue, lane));
            for (queue, lane) in queues.iter().flat_map(each) {
                let name = Source::new(QueueName::clone(queue), lane).to_string();
                let all = QueueDeleteOptions::default();
                answer(channel.queue_delete(name.into(), all)).await?;
            }
            answer(channel.close(200, "OK".into())).await
        };
        removed
            .await
            .map_err(|error: lapin::Error| unavailable(&error))
    }
}

async fn declare(channel: &Channel) -> lapin::Result<()> {
    answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let all = QueueDeleteOptions::default();
    answer(channel.queue_delete(QUEUE.into(), all)).await?;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    answer(channel.queue_declare(QUEUE.into(), options, arguments)).await?;
    Ok(())
}

async fn publish(channel: &Channel, jobs: u64, payload: usize) -> lapin::Result<()> {
    let body = vec![b'x'; payload];
    let properties = BasicProperties::default().with_delivery_mode(2);
    let mut flying = VecDeque::with_capacity(WINDOW);
    for _ in 0..jobs {
        if flying.len() >= WINDOW
            && let Some(oldest) = flying.pop_front()
        {
            answer(oldest).await?;
        }
        let options = BasicPublishOptions::default();
        let sent =
            channel.basic_publish("".into(), QUEUE.into(), options, &body, properties.clone());
        flying.push_back(sent.await?);
    }
    for last in flying {
        answer(last).await?;
    }
    Ok(())
}

async fn consume(channel: &Channel, jobs: u64) -> lapin::Result<()> {
    answer(channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
    let consuming = channel.basic_consume(
        QUEUE.into(),
        "limit".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut stream = answer(consuming).await?;
    let mut taken = 0;
    while taken < jobs {
        let Some(delivery) = answer(async { stream.next().await.transpose() }).await? else {
            return Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into());
        };
        taken += 1;
        if taken % ACK_EVERY == 0 || taken == jobs {
            let up_to = BasicAckOptions { multiple: true };
            channel.basic_ack(delivery.delivery_tag, up_to).await?;
        }
    }
    Ok(())
}
