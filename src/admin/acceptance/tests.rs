use super::*;
use crate::broker::embedded::EmbeddedBroker;
use crate::store::sqlite::SqliteStore;
use crate::store::{NewProcess, Role};

/// How many of two submissions a relay would find to publish, with room to publish them here or none.
async fn left_to_relays(has_room: bool) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("jobs.db")).await;
    let store: Arc<dyn Store> = Arc::new(store.unwrap());
    store.migrate().await.unwrap();
    let profile = NewProcess::this(Role::Intake, Vec::new());
    let liveness = Liveness::register(store.clone(), profile).await.unwrap();
    let queue: QueueName = "email".parse().unwrap();
    let broker = Arc::new(EmbeddedBroker::new(std::slice::from_ref(&queue)));
    let dispatcher = Dispatcher::start(store.clone(), broker, liveness.clone());
    let _all = match has_room {
        true => None,
        false => dispatcher.reserve(usize::MAX, 0).await,
    };
    let acceptance = Acceptance::start(store.clone(), liveness, dispatcher, Arc::default());
    let job = || NewJob::new("email.send".parse().unwrap(), queue.clone(), "{}");
    acceptance.accept(job()).await.unwrap();
    acceptance.accept_all(&[job()]).await.unwrap().unwrap();
    store.lease_outbox(100, LEASE).await.unwrap().len()
}

/// Otherwise it would lie there until the lease of somebody who does not publish it is over.
#[tokio::test]
async fn what_this_process_cannot_publish_any_relay_may_publish_at_once() {
    assert_eq!(left_to_relays(false).await, 2);
    assert_eq!(left_to_relays(true).await, 0);
}
