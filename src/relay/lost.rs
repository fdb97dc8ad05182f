use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::{BATCH, LEASE, Relay};
use crate::broker::{BrokerError, Lane, Source};
use crate::config::QueueConfig;
use crate::job::QueueName;
use crate::liveness::Pace;
use crate::store::StoreResult;

/// How often each queue is checked.
const EVERY: Duration = Duration::from_secs(5);
/// And at least so often, however long that takes.
const LONGEST: Duration = Duration::from_secs(15);
/// An outbox older than this is behind: what is `queued` may simply not be published yet.
const OUTBOX_BEHIND: Duration = Duration::from_secs(10);

/// Publishes again what the broker has lost: a purged queue, a message dropped by an operator,
/// a broker restored from an old disk.
pub(super) async fn run(relay: Arc<Relay>) {
    let (mut pace, mut rest) = (Pace::new(EVERY, LONGEST), EVERY);
    loop {
        tokio::time::sleep(rest).await;
        rest = EVERY;
        let mut looked = Duration::ZERO;
        match relay.store.outbox_age().await {
            Ok(Some(age)) if age > OUTBOX_BEHIND => continue,
            Ok(_) => {}
            Err(error) => {
                relay.liveness.report("reading the outbox", &error);
                continue;
            }
        }
        for (queue, config) in relay.queues.iter() {
            let Ok(empty) = is_empty(&relay, queue).await else {
                continue; // the broker is down: nothing can be told
            };
            let began = Instant::now();
            match check(&relay, queue, config, empty).await {
                Ok(()) => looked += began.elapsed(),
                Err(error) => relay.liveness.report("looking for lost messages", &error),
            }
        }
        rest = pace.rest(looked);
    }
}

/// A job is lost when it has been `queued` for longer than the grace period and either its
/// queue has nothing ready, or one dispatched a grace period later was already delivered.
async fn check(
    relay: &Relay,
    queue: &QueueName,
    config: &QueueConfig,
    empty: bool,
) -> StoreResult<()> {
    let grace = config.grace();
    let overtaken = relay.progress.newest(queue).and_then(|newest| {
        chrono::Duration::from_std(grace)
            .ok()
            .and_then(|grace| newest.checked_sub_signed(grace))
    });
    match (empty, overtaken) {
        (true, _) => publish_again(relay, queue, grace, None).await,
        (false, Some(before)) => publish_again(relay, queue, grace, Some(before)).await,
        (false, None) => Ok(()),
    }
}

async fn is_empty(relay: &Relay, queue: &QueueName) -> Result<bool, BrokerError> {
    for lane in [Lane::Normal, Lane::High] {
        let source = Source::new(queue.clone(), lane);
        if relay.broker.status(&source).await?.ready > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn publish_again(
    relay: &Relay,
    queue: &QueueName,
    older_than: Duration,
    before: Option<DateTime<Utc>>,
) -> StoreResult<()> {
    while let Some(entry) = relay
        .store
        .republish(queue, older_than, before, BATCH, LEASE)
        .await?
    {
        tracing::warn!(
            queue.name = %queue,
            jobs.republished = entry.publications.len(),
            "messages were lost; publishing them again"
        );
        relay.dispatcher.dispatch(entry).await;
    }
    Ok(())
}

/// A queue that had to be created anew has lost everything: publish all of it again at once.
pub(super) async fn watch_created(relay: Arc<Relay>) {
    let mut created = relay.broker.created();
    loop {
        match created.recv().await {
            Ok(queue) => refill(&relay, &queue).await,
            // Missed some announcements: every queue may be among them.
            Err(RecvError::Lagged(_)) => {
                for queue in relay.queues.names() {
                    refill(&relay, queue).await;
                }
            }
            Err(RecvError::Closed) => return,
        }
    }
}

async fn refill(relay: &Relay, queue: &QueueName) {
    loop {
        let refilled = async {
            let now = relay.store.now().await?;
            publish_again(relay, queue, Duration::ZERO, Some(now)).await
        };
        match refilled.await {
            Ok(()) => return,
            Err(error) => relay.liveness.report("refilling a queue", &error),
        }
        tokio::time::sleep(EVERY).await;
    }
}
