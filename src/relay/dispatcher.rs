use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use crate::broker::Broker;
use crate::liveness::Liveness;
use crate::store::{OutboxEntry, OutboxId, Store};

/// Entries that are published at once.
const IN_FLIGHT: usize = 16;
/// Entries settled in one transaction at most.
const SETTLE_BATCH: usize = 256;

/// Publishes outbox entries and settles those that the broker has confirmed. An entry that
/// fails is left alone: its lease runs out and some relay takes it up again.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    broker: Arc<dyn Broker>,
    slots: Arc<Semaphore>,
    confirmed: mpsc::UnboundedSender<OutboxId>,
}

impl Dispatcher {
    /// Starts the task that settles confirmed entries; it ends with the last clone.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, broker: Arc<dyn Broker>, liveness: Arc<Liveness>) -> Self {
        let (confirmed, arrivals) = mpsc::unbounded_channel();
        tokio::spawn(settle(store, liveness, arrivals));
        Self {
            broker,
            slots: Arc::new(Semaphore::new(IN_FLIGHT)),
            confirmed,
        }
    }

    /// Publishes an entry in the background; waits while too many are in flight.
    pub async fn dispatch(&self, entry: OutboxEntry) {
        if let Ok(slot) = self.slots.clone().acquire_owned().await {
            self.publish(entry, slot);
        }
    }

    /// Publishes an entry in the background, or leaves it to a relay when too many are in
    /// flight: whoever accepts jobs never waits for the broker.
    pub fn try_dispatch(&self, entry: OutboxEntry) {
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            self.publish(entry, slot);
        }
    }

    fn publish(&self, entry: OutboxEntry, slot: tokio::sync::OwnedSemaphorePermit) {
        let (broker, confirmed) = (self.broker.clone(), self.confirmed.clone());
        tokio::spawn(async move {
            let _slot = slot;
            let answers = broker.publish(&entry.publications).await;
            match answers.into_iter().find_map(Result::err) {
                // A crash here publishes all of it again: duplicates are fenced.
                None => {
                    let _ = confirmed.send(entry.id);
                }
                Some(error) => tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    outbox.entry = entry.id.0,
                    "not published; a relay will try again"
                ),
            }
        });
    }
}

/// Group-commits settlements. One that fails is dropped: the entry is published again, once.
async fn settle(
    store: Arc<dyn Store>,
    liveness: Arc<Liveness>,
    mut arrivals: mpsc::UnboundedReceiver<OutboxId>,
) {
    let mut entries = Vec::new();
    while arrivals.recv_many(&mut entries, SETTLE_BATCH).await > 0 {
        if let Err(error) = store.settle_outbox(&entries).await {
            liveness.report("settling the outbox", &error);
        }
        entries.clear();
    }
}
