use async_trait::async_trait;
use tokio::sync::broadcast;

use super::*;
use crate::broker::{BrokerError, Consumer, ObjectStatus, PublishError, QueueStatus, Source};
use crate::job::{NewJob, Publication, QueueName};

/// Confirms nothing.
#[derive(Debug)]
struct Silent {
    accepts: bool,
}

#[async_trait]
impl Broker for Silent {
    async fn publish(&self, _: &[Publication]) -> Vec<Result<(), PublishError>> {
        std::future::pending().await
    }

    fn accepts(&self) -> bool {
        self.accepts
    }

    async fn consume(&self, _: Source, prefetch: u16) -> Consumer {
        crate::broker::consumer(prefetch).1
    }

    async fn status(&self, source: &Source) -> Result<QueueStatus, BrokerError> {
        Err(BrokerError::NoQueue(source.to_string()))
    }

    async fn declare(&self) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn round_trip(&self) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn topology(&self) -> Result<Vec<ObjectStatus>, BrokerError> {
        Ok(Vec::new())
    }

    fn created(&self) -> broadcast::Receiver<QueueName> {
        broadcast::channel(1).1
    }

    async fn version(&self) -> Result<String, BrokerError> {
        Ok("silent".to_owned())
    }

    async fn close(&self) {}
}

fn dispatcher(accepts: bool) -> Dispatcher {
    Dispatcher {
        broker: Arc::new(Silent { accepts }),
        room: Arc::new(Semaphore::new(IN_FLIGHT as usize)),
        confirmed: mpsc::unbounded_channel().0,
    }
}

fn entry(messages: usize) -> OutboxEntry {
    entry_of(messages, 2)
}

/// With payloads of so many bytes.
fn entry_of(messages: usize, bytes: usize) -> OutboxEntry {
    let job = NewJob::new(
        "bench.noop".parse().unwrap(),
        "bench".parse().unwrap(),
        vec![b' '; bytes],
    );
    OutboxEntry {
        id: OutboxId(1),
        publications: vec![job.first_dispatch(); messages],
    }
}

/// What is left to the relays is read again before it is published.
#[tokio::test(start_paused = true)]
async fn many_small_entries_are_in_flight_together() {
    let dispatcher = dispatcher(true);
    for _ in 0..40 {
        let room = dispatcher.reserve(100, 0).await.unwrap();
        dispatcher.dispatch_reserved(entry(100), room);
    }
    assert_eq!(dispatcher.room.available_permits(), 4_000);
}

/// A broker that confirms nothing must not fill the memory with what it is sent.
#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_bounded_in_bytes_too() {
    const MIB: usize = 1024 * 1024;
    let dispatcher = dispatcher(true);
    let mut held = 0;
    for turn in 0..1_000 {
        // As acceptance does it, and as a relay does, which waits for room.
        let entry = entry_of(4, MIB);
        let free = dispatcher.room.available_permits();
        if turn % 2 == 0 {
            if let Some(room) = dispatcher.reserve(4, 4 * MIB).await {
                dispatcher.dispatch_reserved(entry, room);
            }
        } else {
            let _ = tokio::time::timeout(CATCH_UP, dispatcher.dispatch(entry)).await;
        }
        held += usize::from(dispatcher.room.available_permits() < free) * 4;
    }
    assert!(
        (40..=IN_FLIGHT as usize * MESSAGE / MIB).contains(&held),
        "{held} MiB"
    );
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_lags_is_waited_for_and_not_for_long() {
    let dispatcher = dispatcher(true);
    let all = dispatcher.reserve(1_000_000, 0).await;
    assert!(all.is_some(), "a larger entry than there is room for");
    assert!(dispatcher.reserve(1, 0).await.is_none());
    assert!(
        !dispatcher.has_room(),
        "what others could publish is left to them"
    );
    let (freed, waited) = tokio::join!(
        async {
            tokio::time::sleep(CATCH_UP / 2).await;
            drop(all);
        },
        dispatcher.reserve(1, 0),
    );
    let () = freed;
    assert!(waited.is_some(), "it caught up");
}

/// One job of a queue that was removed would keep the others of its entry coming, and the search for
/// lost messages waiting, for ever.
#[test]
fn a_queue_that_nobody_has_holds_up_no_entry() {
    let gone = || Err(PublishError::UnknownQueue);
    assert_eq!(failure(vec![Ok(()), gone(), Ok(())]), None);
    let refused = vec![gone(), Err(PublishError::Refused), Ok(())];
    assert_eq!(failure(refused), Some(PublishError::Refused));
    // This process has the queue: it is made again, and the entry published again.
    let missing = failure(vec![Err(PublishError::Unroutable)]);
    assert_eq!(missing, Some(PublishError::Unroutable));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_down_is_not_waited_for() {
    let dispatcher = dispatcher(false);
    assert!(dispatcher.reserve(1, 0).await.is_none());
}
