use std::collections::BTreeSet;

use longshore::broker::{BrokerError, Lane, PublishError, Source};
use longshore::job::{DispatchHeader, Message, Priority};
use tokio::sync::broadcast::error::TryRecvError;

use super::setting::{
    Stage, dead, eventually, eventually_ready, fresh_queue, next, normal, nothing, numbered,
    publication, publish, registered, take, text, texts, within,
};

pub(super) async fn what_is_published_arrives_intact(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    let payloads: [Vec<u8>; 5] = [
        b"{}".to_vec(),
        "{\"to\":\"Zoë\u{1F600}\u{0000}\"}".into(),
        vec![0; 100],
        (0..=255).collect(),
        vec![b'x'; 1024 * 1024],
    ];
    let mut batch: Vec<_> = payloads.map(|p| publication(&queue, p)).into();
    batch.push(publication(&queue, ""));
    batch[0].traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    batch[1].dispatch = i32::MAX;
    publish(&*broker, &batch).await;
    let mut consumer = broker.consume(normal(&queue), 10).await;
    for sent in &batch {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.message, Message::from(sent));
        assert_eq!(
            delivery.message.dispatch,
            DispatchHeader::Number(sent.dispatch.into())
        );
        delivery.ack();
    }
}

pub(super) async fn a_queue_keeps_its_order(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    let mut consumer = broker.consume(normal(&queue), 50).await;
    for start in [0, 100, 200] {
        publish(&*broker, &numbered(&queue, start..start + 100)).await;
    }
    for number in 0..300 {
        let delivery = next(&mut consumer).await;
        assert_eq!(text(&delivery), number.to_string());
        delivery.ack();
    }
}

pub(super) async fn thousands_of_messages_arrive_once(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    let mut consumer = broker.consume(normal(&queue), 200).await;
    let batches = (0..10).map(|n| {
        let (broker, batch) = (broker.clone(), numbered(&queue, n * 500..(n + 1) * 500));
        tokio::spawn(async move { publish(&*broker, &batch).await })
    });
    let publishing: Vec<_> = batches.collect();
    let mut seen = BTreeSet::new();
    while seen.len() < 5_000 {
        let delivery = next(&mut consumer).await;
        assert!(
            seen.insert(text(&delivery)),
            "{} came twice",
            text(&delivery)
        );
        delivery.ack();
    }
    for published in publishing {
        published.await.unwrap();
    }
    nothing(&mut consumer).await;
    drop(consumer);
    eventually_ready(&*broker, &normal(&queue), 0).await;
}

pub(super) async fn no_more_than_the_prefetch_is_handed_out(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    publish(&*broker, &numbered(&queue, 0..10)).await;
    let mut consumer = broker.consume(normal(&queue), 3).await;
    let mut held = take(&mut consumer, 3).await;
    nothing(&mut consumer).await;
    held.remove(1).ack();
    let fourth = next(&mut consumer).await;
    assert_eq!(text(&fourth), "3");
    nothing(&mut consumer).await;
}

pub(super) async fn what_is_acknowledged_is_gone(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    publish(&*broker, &numbered(&queue, 0..20)).await;
    let mut consumer = broker.consume(normal(&queue), 20).await;
    // Out of order, so that it takes single and cumulative acknowledgements.
    let mut kept = Vec::new();
    for (number, delivery) in take(&mut consumer, 20).await.into_iter().enumerate().rev() {
        if number == 7 {
            kept.push(delivery);
        } else {
            delivery.ack();
        }
    }
    drop((consumer, kept));
    let mut consumer = broker.consume(normal(&queue), 20).await;
    let only = next(&mut consumer).await;
    assert_eq!(text(&only), "7");
    only.ack();
    nothing(&mut consumer).await;
}

pub(super) async fn what_is_rejected_is_a_dead_letter(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    let mut batch = numbered(&queue, 0..2);
    batch[1].priority = Priority::High;
    publish(&*broker, &batch).await;
    for lane in [Lane::Normal, Lane::High] {
        let mut consumer = broker.consume(Source::new(queue.clone(), lane), 10).await;
        next(&mut consumer).await.reject();
        nothing(&mut consumer).await;
    }
    let mut graves = broker.consume(dead(&queue), 10).await;
    let mut buried = take(&mut graves, 2).await;
    buried.sort_by_key(text);
    for (delivery, sent) in buried.into_iter().zip(&batch) {
        assert_eq!(delivery.message, Message::from(sent));
        delivery.ack();
    }
    nothing(&mut graves).await;
}

pub(super) async fn a_dead_letter_survives_many_returns(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    publish(&*broker, &numbered(&queue, 0..1)).await;
    let mut consumer = broker.consume(normal(&queue), 1).await;
    next(&mut consumer).await.reject();
    let mut graves = broker.consume(dead(&queue), 1).await;
    for _ in 0..150 {
        next(&mut graves).await.release();
    }
    next(&mut graves).await.ack();
}

pub(super) async fn what_is_released_goes_to_another_consumer(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    publish(&*broker, &numbered(&queue, 0..1)).await;
    let mut first = broker.consume(normal(&queue), 1).await;
    let held = next(&mut first).await;
    let mut second = broker.consume(normal(&queue), 1).await;
    registered(&second).await;
    first.stop();
    held.release();
    let again = next(&mut second).await;
    assert_eq!(text(&again), "0");
    again.ack();
    assert!(within(first.next()).await.is_none());
}

pub(super) async fn what_is_released_too_often_is_a_dead_letter(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    let sent = publication(&queue, "{}");
    publish(&*broker, std::slice::from_ref(&sent)).await;
    let mut consumer = broker.consume(normal(&queue), 1).await;
    for _ in 0..=100 {
        next(&mut consumer).await.release();
    }
    let mut graves = broker.consume(dead(&queue), 1).await;
    let delivery = next(&mut graves).await;
    assert_eq!(delivery.message, Message::from(&sent));
    delivery.ack();
    nothing(&mut consumer).await;
}

pub(super) async fn a_dropped_consumer_returns_its_deliveries_in_front(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    publish(&*broker, &numbered(&queue, 0..5)).await;
    let mut consumer = broker.consume(normal(&queue), 3).await;
    drop(next(&mut consumer).await);
    drop(consumer);
    eventually_ready(&*broker, &normal(&queue), 5).await;
    let mut second = broker.consume(normal(&queue), 5).await;
    assert_eq!(
        texts(&take(&mut second, 5).await),
        ["0", "1", "2", "3", "4"]
    );
}

pub(super) async fn a_stopped_consumer_hands_out_what_arrived_and_can_settle_it(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    publish(&*broker, &numbered(&queue, 0..6)).await;
    let mut consumer = broker.consume(normal(&queue), 4).await;
    let first = next(&mut consumer).await;
    eventually_ready(&*broker, &normal(&queue), 2).await;
    consumer.stop();
    let mut is_registered = consumer.registered();
    within(is_registered.wait_for(|registered| !registered))
        .await
        .unwrap();
    let mut rest = Vec::new();
    while let Some(delivery) = within(consumer.next()).await {
        rest.push(delivery);
    }
    assert_eq!(texts(&rest), ["1", "2", "3"]);
    // No more is handed out for what is settled now.
    first.ack();
    for delivery in rest {
        delivery.ack();
    }
    drop(consumer);
    let mut second = broker.consume(normal(&queue), 10).await;
    assert_eq!(texts(&take(&mut second, 2).await), ["4", "5"]);
    nothing(&mut second).await;
}

pub(super) async fn an_unsettled_delivery_comes_back_when_the_last_is_dropped(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    publish(&*broker, &numbered(&queue, 0..2)).await;
    let mut consumer = broker.consume(normal(&queue), 2).await;
    let held = next(&mut consumer).await;
    let lost = next(&mut consumer).await;
    consumer.stop();
    assert!(within(consumer.next()).await.is_none());
    drop((lost, consumer));
    let mut second = broker.consume(normal(&queue), 2).await;
    nothing(&mut second).await;
    held.ack();
    assert_eq!(text(&next(&mut second).await), "1");
}

pub(super) async fn settling_after_the_end_is_harmless(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    publish(&*broker, &numbered(&queue, 0..3)).await;
    let mut consumer = broker.consume(normal(&queue), 3).await;
    let held = take(&mut consumer, 3).await;
    broker.close().await;
    for delivery in held {
        delivery.ack();
    }
    assert!(within(consumer.next()).await.is_none());
}

pub(super) async fn lanes_are_separate(stage: Stage) {
    let Stage {
        broker,
        queue,
        other,
    } = stage;
    let mut batch = numbered(&queue, 0..3);
    batch[1].priority = Priority::High;
    batch[2].queue = other.clone();
    publish(&*broker, &batch).await;
    let high = Source::new(queue.clone(), Lane::High);
    for (source, expected) in [(high, "1"), (normal(&queue), "0"), (normal(&other), "2")] {
        let mut consumer = broker.consume(source, 10).await;
        let delivery = next(&mut consumer).await;
        assert_eq!(text(&delivery), expected);
        delivery.ack();
        nothing(&mut consumer).await;
    }
}

pub(super) async fn consumers_share_a_queue(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    let mut first = broker.consume(normal(&queue), 10).await;
    let mut second = broker.consume(normal(&queue), 10).await;
    registered(&first).await;
    registered(&second).await;
    publish(&*broker, &numbered(&queue, 0..20)).await;
    let mut seen = texts(&take(&mut first, 10).await);
    seen.extend(texts(&take(&mut second, 10).await));
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), 20);
}

pub(super) async fn status_counts_messages_and_consumers(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    let source = normal(&queue);
    assert!(matches!(
        broker.status(&source).await,
        Err(BrokerError::NoQueue(name)) if name == source.to_string()
    ));
    publish(&*broker, &numbered(&queue, 0..5)).await;
    eventually_ready(&*broker, &source, 5).await;
    assert_eq!(broker.status(&source).await.unwrap().consumers, 0);
    let mut consumer = broker.consume(source.clone(), 2).await;
    let held = take(&mut consumer, 2).await;
    eventually_ready(&*broker, &source, 3).await;
    assert_eq!(broker.status(&source).await.unwrap().consumers, 1);
    drop((held, consumer));
    eventually_ready(&*broker, &source, 5).await;
    eventually("the consumer is gone", || async {
        broker.status(&source).await.unwrap().consumers == 0
    })
    .await;
}

pub(super) async fn declaring_is_idempotent_and_announces_what_it_creates(stage: Stage) {
    let Stage {
        broker,
        queue,
        other,
    } = stage;
    let mut created = broker.created();
    broker.declare().await.unwrap();
    let announced = [within(created.recv()).await, within(created.recv()).await];
    let announced: BTreeSet<_> = announced.map(Result::unwrap).into();
    assert_eq!(announced, BTreeSet::from([queue.clone(), other]));
    publish(&*broker, &numbered(&queue, 0..1)).await;
    broker.declare().await.unwrap();
    assert_eq!(created.try_recv(), Err(TryRecvError::Empty));
    eventually_ready(&*broker, &normal(&queue), 1).await;
}

pub(super) async fn publishing_declares_a_missing_queue(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    // Together with a message for a queue that nobody has: neither may hold the other up.
    let mut batch = numbered(&queue, 0..3);
    batch[1].queue = fresh_queue();
    let answers = within(broker.publish(&batch)).await;
    assert_eq!(answers, [Ok(()), Err(PublishError::UnknownQueue), Ok(())]);
    assert_eq!(
        within(async {
            // Whoever listens only now still learns of it.
            let mut created = broker.created();
            loop {
                let created = created.recv().await.unwrap();
                if created == queue {
                    break created;
                }
            }
        })
        .await,
        queue
    );
    let mut consumer = broker.consume(normal(&queue), 10).await;
    assert_eq!(texts(&take(&mut consumer, 2).await), ["0", "2"]);
}

pub(super) async fn an_unknown_queue_takes_nothing(stage: Stage) {
    let Stage { broker, .. } = stage;
    let unknown = fresh_queue();
    let answers = within(broker.publish(&numbered(&unknown, 0..2))).await;
    assert_eq!(answers, [const { Err(PublishError::UnknownQueue) }; 2]);
    let mut consumer = broker.consume(normal(&unknown), 1).await;
    nothing(&mut consumer).await;
    assert!(!*consumer.registered().borrow());
    consumer.stop();
    assert!(within(consumer.next()).await.is_none());
}

pub(super) async fn consuming_declares_a_missing_queue(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    let mut created = broker.created();
    let mut consumer = broker.consume(normal(&queue), 1).await;
    registered(&consumer).await;
    assert_eq!(within(created.recv()).await, Ok(queue.clone()));
    publish(&*broker, &numbered(&queue, 0..1)).await;
    next(&mut consumer).await.ack();
}

pub(super) async fn topology_names_every_lane(stage: Stage) {
    let Stage {
        broker,
        queue,
        other,
    } = stage;
    let of_queues = |objects: Vec<longshore::broker::ObjectStatus>| -> Vec<(String, &str)> {
        let objects = objects.into_iter().filter(|o| o.object == "queue");
        objects.map(|o| (o.name, o.status)).collect()
    };
    let expected = |status| -> Vec<(String, &str)> {
        let lanes = ["", ".high", ".dead"];
        let names = [&queue, &other].map(|q| lanes.map(|lane| format!("longshore.{q}{lane}")));
        names.into_iter().flatten().map(|n| (n, status)).collect()
    };
    let before = of_queues(broker.topology().await.unwrap());
    assert_eq!(before, expected("missing"));
    let again = of_queues(broker.topology().await.unwrap());
    assert_eq!(
        again,
        expected("missing"),
        "looking must not change anything"
    );
    broker.declare().await.unwrap();
    let after = broker.topology().await.unwrap();
    assert!(after.iter().all(|o| o.status == "declared"), "{after:?}");
    assert_eq!(of_queues(after), expected("declared"));
}

pub(super) async fn closing_ends_everything(stage: Stage) {
    let Stage { broker, queue, .. } = stage;
    let mut consumer = broker.consume(normal(&queue), 1).await;
    registered(&consumer).await;
    within(broker.close()).await;
    assert!(within(consumer.next()).await.is_none());
    let answers = within(broker.publish(&numbered(&queue, 0..1))).await;
    assert!(matches!(answers[..], [Err(PublishError::Unavailable(_))]));
    assert!(matches!(
        broker.declare().await,
        Err(BrokerError::Unavailable(_))
    ));
    let mut late = broker.consume(normal(&queue), 1).await;
    late.stop();
    assert!(within(late.next()).await.is_none());
    within(broker.close()).await;
}
