use std::time::Duration;

use crate::broker::Verdict;
use crate::job::{JobId, Message, NewJob, Priority};
use crate::worker::fixture::{Fixture, publication, queue};

/// A job whose message the broker has, and the store too.
async fn queued(fixture: &Fixture) -> JobId {
    let job = NewJob::new("email.send".parse().unwrap(), queue(), "{}");
    let id = job.id;
    let me = fixture.executor().liveness.me();
    let lease = Duration::from_secs(60);
    let insertion = fixture.store.insert(me, &[job], lease).await.unwrap();
    let entry = insertion.outbox.unwrap();
    fixture.store.settle_outbox(&[entry]).await.unwrap();
    id
}

/// Each way of a delivery back: left in the consumer, or taken out before the pause was seen.
async fn both_ways(fixture: &mut Fixture, message: impl Fn() -> Message) -> [Verdict; 2] {
    let left = vec![(fixture.delivery(message()), Priority::Normal)];
    fixture.executor().hand_back_all(left).await;
    let first = fixture.verdict();
    [first, fixture.execute(message()).await]
}

#[tokio::test]
async fn a_pause_restores_what_the_store_has_forgotten() {
    let mut fixture = Fixture::new().await;
    for dispatch in [3, 1] {
        let id = JobId::new();
        let message = || Message::from(&publication(id, dispatch));
        let verdicts = both_ways(&mut fixture, message).await;
        assert_eq!(verdicts, [Verdict::Ack, Verdict::Ack]);
        assert_eq!(fixture.outbox().await, [(id, dispatch), (id, dispatch)]);
    }
    let tally = fixture.store.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.live), (2, 2));
}

#[tokio::test]
async fn a_pause_restores_a_dispatch_that_is_newer_than_its_row() {
    let mut fixture = Fixture::new().await;
    let id = queued(&fixture).await;
    let message = || Message::from(&publication(id, 4));
    let verdicts = both_ways(&mut fixture, message).await;
    assert_eq!(verdicts, [Verdict::Ack, Verdict::Ack]);
    assert_eq!(fixture.outbox().await, [(id, 4), (id, 4)]);
    // And the old copy is stale.
    let message = || Message::from(&publication(id, 1));
    let verdicts = both_ways(&mut fixture, message).await;
    assert_eq!(verdicts, [Verdict::Ack, Verdict::Ack]);
    assert_eq!(fixture.outbox().await, []);
}

#[tokio::test]
async fn a_pause_gives_back_what_the_store_cannot_take() {
    let mut fixture = Fixture::new().await;
    let id = queued(&fixture).await;
    fixture.store.close().await;
    let message = || Message::from(&publication(id, 1));
    let verdicts = both_ways(&mut fixture, message).await;
    assert_eq!(verdicts, [Verdict::Release, Verdict::Release]);
}
