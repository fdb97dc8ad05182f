use crate::broker::Verdict;
use crate::job::Message;
use crate::worker::fixture::Fixture;

async fn dead(fixture: &Fixture) -> u64 {
    fixture.store.tally().await.unwrap().dead
}

fn junk(message_id: Option<&str>, body: &'static str) -> Message {
    Message {
        message_id: message_id.map(str::to_owned),
        body: body.into(),
        ..Message::default()
    }
}

/// As after a crash between the record and the acknowledgement.
#[tokio::test]
async fn junk_that_is_delivered_again_is_one_dead_job() {
    let mut fixture = Fixture::new().await;
    for _ in 0..3 {
        let verdict = fixture.execute(junk(Some("m-1"), "{")).await;
        assert_eq!(verdict, Verdict::Ack);
    }
    assert_eq!(dead(&fixture).await, 1);
    assert_eq!(fixture.execute(junk(Some("m-1"), "[")).await, Verdict::Ack);
    assert_eq!(fixture.execute(junk(Some("m-2"), "{")).await, Verdict::Ack);
    assert_eq!(dead(&fixture).await, 3);
    let tally = fixture.store.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.missing()), (3, 0));
}

#[tokio::test]
async fn junk_that_nothing_identifies_is_kept_each_time() {
    let mut fixture = Fixture::new().await;
    for _ in 0..2 {
        assert_eq!(fixture.execute(junk(None, "{")).await, Verdict::Ack);
    }
    assert_eq!(dead(&fixture).await, 2);
}
