//! What only RabbitMQ can be asked: accidents, foreign messages, other people's queues.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ExchangeDeleteOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, ByteArray, DecimalValue, FieldArray, FieldTable, ShortString};
use longshore::broker::amqp::AmqpBroker;
use longshore::broker::{Broker, BrokerError, PublishError};
use longshore::job::{DispatchHeader, Message, QueueName};

use tokio::sync::RwLockReadGuard;

use super::proxy::Proxy;
use super::setting::{
    EXCHANGE, Raw, amqp_url, dead, fresh_queue, next, normal, nothing, numbered, publication,
    publish, registered, take, text, texts, within,
};
use super::wire;

/// A broker with two fresh queues, and RabbitMQ itself.
struct Case {
    broker: Arc<AmqpBroker>,
    queue: QueueName,
    other: QueueName,
    raw: Raw,
    _whole: RwLockReadGuard<'static, ()>,
}

impl Case {
    async fn new() -> Self {
        Self::at(&[amqp_url()]).await
    }

    async fn at(urls: &[String]) -> Self {
        let whole = EXCHANGE.read().await;
        let (queue, other) = (fresh_queue(), fresh_queue());
        let queues = [queue.clone(), other.clone()];
        Self {
            broker: Arc::new(AmqpBroker::connect(urls, &queues).unwrap()),
            queue,
            other,
            raw: Raw::connect().await,
            _whole: whole,
        }
    }

    async fn end(self) {
        within(self.broker.close()).await;
        self.raw.delete(&self.queue).await;
        self.raw.delete(&self.other).await;
    }

    async fn raw_publish(&self, properties: BasicProperties, body: &[u8]) {
        let options = BasicPublishOptions::default();
        let exchange = "longshore.jobs".into();
        self.raw
            .channel
            .basic_publish(
                exchange,
                self.queue.as_str().into(),
                options,
                body,
                properties,
            )
            .await
            .unwrap();
    }
}

/// The test's RabbitMQ at another address.
fn url_at(address: &impl ToString) -> String {
    let mut url = url::Url::parse(&amqp_url()).unwrap();
    let address = address.to_string();
    let (host, port) = address.split_once(':').unwrap();
    url.set_host(Some(host)).unwrap();
    url.set_port(Some(port.parse().unwrap())).unwrap();
    url.into()
}

async fn proxy() -> Proxy {
    let url = url::Url::parse(&amqp_url()).unwrap();
    let host = url.host_str().unwrap();
    Proxy::to(format!("{host}:{}", url.port().unwrap_or(5672))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_declared_again_and_announced() {
    let case = Case::new().await;
    let source = normal(&case.queue);
    let mut consumer = case.broker.consume(source.clone(), 10).await;
    registered(&consumer).await;
    let mut created = case.broker.created();
    while created.try_recv().is_ok() {}
    let mut is_registered = consumer.registered();
    is_registered.mark_unchanged();
    case.raw.delete_one(&source).await;
    assert_eq!(within(created.recv()).await, Ok(case.queue.clone()));
    // It was lost, and is back.
    within(is_registered.changed()).await.unwrap();
    registered(&consumer).await;
    publish(&*case.broker, &numbered(&case.queue, 0..1)).await;
    next(&mut consumer).await.ack();
    case.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_other_arguments_is_named_and_still_consumed() {
    let case = Case::new().await;
    let name = format!("longshore.{}", case.queue);
    let durable = QueueDeclareOptions::durable();
    case.raw
        .channel
        .queue_declare(name.as_str().into(), durable, FieldTable::default())
        .await
        .unwrap();
    let error = case.broker.declare().await.unwrap_err();
    assert!(matches!(error, BrokerError::Different(_)), "{error}");
    let error = error.to_string();
    for part in [
        &*name,
        "x-queue-type=quorum",
        "PRECONDITION_FAILED",
        "delete_queue",
    ] {
        assert!(error.contains(part), "no {part} in: {error}");
    }
    let objects = case.broker.topology().await.unwrap();
    let status: BTreeMap<_, _> = objects.iter().map(|o| (&*o.name, o.status)).collect();
    assert_eq!(status[&*name], "different");
    // It held nothing else up.
    assert_eq!(status[&*format!("{name}.dead")], "declared");
    assert_eq!(status[&*format!("longshore.{}", case.other)], "declared");
    case.raw
        .channel
        .basic_publish(
            "".into(),
            name.as_str().into(),
            BasicPublishOptions::default(),
            b"7",
            BasicProperties::default(),
        )
        .await
        .unwrap();
    let mut consumer = case.broker.consume(normal(&case.queue), 1).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(text(&delivery), "7");
    delivery.ack();
    case.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_is_replaced_and_loses_nothing() {
    let proxy = proxy().await;
    let case = Case::at(&[url_at(&proxy.address())]).await;
    let mut consumer = case.broker.consume(normal(&case.queue), 5).await;
    publish(&*case.broker, &numbered(&case.queue, 0..6)).await;
    let mut held = take(&mut consumer, 5).await;
    held.remove(0).ack();
    // Comes only once the broker has the acknowledgement.
    held.push(next(&mut consumer).await);
    let mut is_registered = consumer.registered();
    proxy.cut();
    within(is_registered.wait_for(|r| !r)).await.unwrap();
    // Settled on a connection that is gone: the broker delivers them again.
    for delivery in held {
        delivery.ack();
    }
    let answers = within(case.broker.publish(&numbered(&case.queue, 5..6))).await;
    assert!(
        matches!(answers[..], [Err(PublishError::Unavailable(_))]),
        "{answers:?}"
    );
    assert!(matches!(
        case.broker.status(&normal(&case.queue)).await,
        Err(BrokerError::Unavailable(_))
    ));
    proxy.mend();
    let again = take(&mut consumer, 5).await;
    assert_eq!(texts(&again), ["1", "2", "3", "4", "5"]);
    for delivery in again {
        delivery.ack();
    }
    // The publisher comes back by itself.
    within(async { while case.broker.publish(&numbered(&case.queue, 6..7)).await != [Ok(())] {} })
        .await;
    assert_eq!(text(&next(&mut consumer).await), "6");
    case.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_under_load_answers_every_publish() {
    let proxy = proxy().await;
    let case = Case::at(&[url_at(&proxy.address())]).await;
    case.broker.declare().await.unwrap();
    let batch = numbered(&case.queue, 0..5_000);
    let (broker, load) = (case.broker.clone(), batch.clone());
    let publishing = tokio::spawn(async move { broker.publish(&load).await });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    proxy.cut();
    let answers = within(publishing).await.unwrap();
    assert_eq!(answers.len(), batch.len());
    assert!(answers.iter().any(Result::is_err), "it was cut too late");
    // What was confirmed is there. What was not may be.
    proxy.mend();
    let mut confirmed: BTreeSet<_> = batch
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.is_ok())
        .map(|(sent, _)| sent.id.to_string())
        .collect();
    let mut consumer = case.broker.consume(normal(&case.queue), 500).await;
    while !confirmed.is_empty() {
        let delivery = next(&mut consumer).await;
        confirmed.remove(delivery.message.message_id.as_deref().unwrap());
        delivery.ack();
    }
    case.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_urls_are_tried_in_turn() {
    // Nobody listens on a port that was just given back.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let case = Case::at(&[url_at(&address), amqp_url()]).await;
    publish(&*case.broker, &numbered(&case.queue, 0..1)).await;
    let mut consumer = case.broker.consume(normal(&case.queue), 1).await;
    next(&mut consumer).await.ack();
    assert!(
        case.broker
            .version()
            .await
            .unwrap()
            .starts_with("RabbitMQ ")
    );
    case.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_everything_says_so() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let url = format!("amqp://user:secret@{address}");
    let queue = fresh_queue();
    let broker = AmqpBroker::connect(&[url], std::slice::from_ref(&queue)).unwrap();
    let answers = within(broker.publish(&numbered(&queue, 0..3))).await;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Err(PublishError::Unavailable(_))))
    );
    let mut consumer = broker.consume(normal(&queue), 1).await;
    nothing(&mut consumer).await;
    let errors = [
        broker.declare().await.unwrap_err(),
        broker.status(&normal(&queue)).await.unwrap_err(),
        broker.topology().await.unwrap_err(),
        broker.version().await.unwrap_err(),
    ];
    for error in errors {
        let text = format!("{error} {error:?} {broker:?}");
        assert!(matches!(error, BrokerError::Unavailable(_)), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
    within(broker.close()).await;
    assert!(within(consumer.next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_strangers_arrive_as_they_are() {
    let case = Case::new().await;
    case.broker.declare().await.unwrap();
    let mut consumer = case.broker.consume(normal(&case.queue), 100).await;
    case.raw_publish(BasicProperties::default(), &[0, 159, 146, 150])
        .await;
    let delivery = next(&mut consumer).await;
    let expected = Message {
        body: vec![0, 159, 146, 150].into(),
        ..Message::default()
    };
    assert_eq!(delivery.message, expected);
    delivery.ack();
    for (value, number) in every_kind_of_value() {
        let mut headers = FieldTable::default();
        headers.insert("x-longshore-dispatch".into(), value.clone());
        headers.insert("traceparent".into(), value.clone());
        headers.insert("another".into(), value.clone());
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_app_id("app é".into())
            .with_message_id("".into());
        case.raw_publish(properties, b"").await;
        let delivery = next(&mut consumer).await;
        let message = &delivery.message;
        match number {
            Some(number) => assert_eq!(message.dispatch, DispatchHeader::Number(number)),
            None => assert!(matches!(message.dispatch, DispatchHeader::Unreadable(_))),
        }
        assert_eq!(message.app_id.as_deref(), Some("app é"));
        assert_eq!(message.message_id.as_deref(), Some(""));
        delivery.ack();
    }
    let big = vec![b'x'; 10_000_000];
    case.raw_publish(BasicProperties::default(), &big).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.message.body.len(), big.len());
    delivery.reject();
    let mut graves = case.broker.consume(dead(&case.queue), 1).await;
    let delivery = next(&mut graves).await;
    assert_eq!(delivery.message.body.len(), big.len());
    delivery.ack();
    case.end().await;
}

fn every_kind_of_value() -> Vec<(AMQPValue, Option<i64>)> {
    let array = FieldArray::from(vec![AMQPValue::Void, AMQPValue::Boolean(false)]);
    let mut table = FieldTable::default();
    table.insert(ShortString::from("k"), AMQPValue::LongInt(1));
    vec![
        (AMQPValue::ShortShortInt(-7), Some(-7)),
        (AMQPValue::ShortShortUInt(200), Some(200)),
        (AMQPValue::ShortInt(-300), Some(-300)),
        (AMQPValue::ShortUInt(60_000), Some(60_000)),
        (AMQPValue::LongInt(7), Some(7)),
        (AMQPValue::LongUInt(u32::MAX), Some(u32::MAX.into())),
        (AMQPValue::LongLongInt(i64::MIN), Some(i64::MIN)),
        (AMQPValue::Boolean(true), None),
        (AMQPValue::Float(1.5), None),
        (AMQPValue::Double(f64::MAX), None),
        (
            AMQPValue::DecimalValue(DecimalValue { scale: 1, value: 7 }),
            None,
        ),
        (AMQPValue::LongString("7".into()), None),
        (AMQPValue::LongString(vec![0xff, 0x00].into()), None),
        (AMQPValue::FieldArray(array), None),
        (AMQPValue::FieldTable(table), None),
        (AMQPValue::Timestamp(7), None),
        (AMQPValue::ByteArray(ByteArray::from(vec![0, 255])), None),
        (AMQPValue::Void, None),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_is_no_utf8_holds_nobody_up() {
    let case = Case::new().await;
    case.broker.declare().await.unwrap();
    // Their neighbour shares the connection.
    let mut neighbour = case.broker.consume(normal(&case.other), 10).await;
    let mut consumer = case.broker.consume(normal(&case.queue), 10).await;
    publish(&*case.broker, &numbered(&case.queue, 0..3)).await;
    for latin1 in [b"caf\xe9", b"na\xefv"] {
        wire::publish_with_message_id(case.queue.as_str(), latin1, b"bad").await;
    }
    publish(&*case.broker, &numbered(&case.queue, 3..6)).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 6 {
        let delivery = next(&mut consumer).await;
        seen.insert(text(&delivery));
        delivery.ack();
    }
    assert!(!seen.contains("bad"));
    // The way through the dead letters is free, too.
    let mut graves = case.broker.consume(dead(&case.queue), 10).await;
    publish(&*case.broker, &numbered(&case.queue, 6..7)).await;
    next(&mut consumer).await.reject();
    // Of the two a notice arrives, among the others.
    let (mut notices, mut found) = (0, false);
    while notices < 2 || !found {
        let letter = next(&mut graves).await;
        if letter.message.unreadable {
            notices += 1;
        } else {
            assert_eq!(text(&letter), "6");
            found = true;
        }
        letter.ack();
    }
    publish(&*case.broker, &numbered(&case.other, 0..1)).await;
    next(&mut neighbour).await.ack();
    case.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_exchange_is_declared_again() {
    let _alone = EXCHANGE.write().await;
    let raw = Raw::connect().await;
    let queue = fresh_queue();
    let broker = AmqpBroker::connect(&[amqp_url()], std::slice::from_ref(&queue)).unwrap();
    publish(&broker, &numbered(&queue, 0..1)).await;
    raw.channel
        .exchange_delete("longshore.jobs".into(), ExchangeDeleteOptions::default())
        .await
        .unwrap();
    publish(&broker, &numbered(&queue, 1..200)).await;
    let mut consumer = broker.consume(normal(&queue), 300).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 200 {
        let delivery = next(&mut consumer).await;
        seen.insert(text(&delivery));
        delivery.ack();
    }
    broker.close().await;
    raw.delete(&queue).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_deleted_under_load_takes_every_confirmed_message() {
    let case = Case::new().await;
    case.broker.declare().await.unwrap();
    // Both queues are in flight together, so that returns mix with confirms.
    let mut batch = numbered(&case.queue, 0..1_000);
    for odd in batch.iter_mut().skip(1).step_by(2) {
        odd.queue = case.other.clone();
    }
    case.raw.delete_one(&normal(&case.queue)).await;
    publish(&*case.broker, &batch).await;
    for queue in [&case.queue, &case.other] {
        let expected = batch.iter().filter(|sent| sent.queue == *queue);
        let mut expected: BTreeSet<_> = expected.map(|sent| sent.id.to_string()).collect();
        let mut consumer = case.broker.consume(normal(queue), 500).await;
        while !expected.is_empty() {
            let delivery = next(&mut consumer).await;
            expected.remove(delivery.message.message_id.as_deref().unwrap());
            delivery.ack();
        }
    }
    case.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_is_refused_alone() {
    let case = Case::new().await;
    let mut batch = numbered(&case.queue, 0..3);
    batch[1] = publication(&case.queue, vec![b'x'; 16 * 1024 * 1024 + 1]);
    let answers = within(case.broker.publish(&batch)).await;
    assert_eq!(answers, [Ok(()), Err(PublishError::Refused), Ok(())]);
    case.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_settled_before_closing_counts() {
    let case = Case::new().await;
    publish(&*case.broker, &numbered(&case.queue, 0..100)).await;
    let mut consumer = case.broker.consume(normal(&case.queue), 100).await;
    let mut held = take(&mut consumer, 100).await;
    let kept = held.split_off(99);
    for delivery in held {
        delivery.ack();
    }
    within(case.broker.close()).await;
    let second = AmqpBroker::connect(&[amqp_url()], std::slice::from_ref(&case.queue)).unwrap();
    let mut consumer = second.consume(normal(&case.queue), 100).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(text(&delivery), text(&kept[0]));
    delivery.ack();
    nothing(&mut consumer).await;
    second.close().await;
    case.end().await;
}
