use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::broker::{Broker, PublishError};
use crate::liveness::Liveness;
use crate::store::{OutboxEntry, OutboxId, Store};

/// Messages that are published at once: enough to keep the broker busy, and few enough to be
/// confirmed well within the lease of their entries. A larger entry counts as so many.
const IN_FLIGHT: u32 = 8_000;
/// Bytes of payload that a message in flight has on average at most: 62 MiB of them together. An
/// entry of larger ones counts as more messages.
const MESSAGE: usize = 8 * 1024;
/// How long an insert waits for the broker to catch up with those before it. Acceptance slows down
/// to the broker's pace instead of leaving more and more to the relays, which read every message from
/// the store again.
const CATCH_UP: Duration = Duration::from_millis(250);
/// Entries settled in one transaction at most.
const SETTLE_BATCH: usize = 256;

/// Publishes outbox entries and settles those that the broker has confirmed. An entry that
/// fails is left alone: its lease runs out and some relay takes it up again.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    broker: Arc<dyn Broker>,
    room: Arc<Semaphore>,
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
            room: Arc::new(Semaphore::new(IN_FLIGHT as usize)),
            confirmed,
        }
    }

    /// Publishes an entry in the background; waits while too much is in flight.
    pub async fn dispatch(&self, entry: OutboxEntry) {
        let weight = weight_of(&entry);
        if let Ok(place) = self.room.clone().acquire_many_owned(weight).await {
            self.publish(entry, place);
        }
    }

    /// Whether anything more may be published now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.room.available_permits() > 0
    }

    /// Room for so many messages, with so many bytes of payload together, that are about to be
    /// committed. None when there is none soon, or nothing can be published now: whoever accepts
    /// jobs never waits for a broker that is down.
    pub async fn reserve(&self, messages: usize, bytes: usize) -> Option<Reservation> {
        if !self.broker.accepts() {
            return None;
        }
        let taking = self
            .room
            .clone()
            .acquire_many_owned(weight(messages, bytes));
        let place = tokio::time::timeout(CATCH_UP, taking).await.ok()?.ok()?;
        Some(Reservation(place))
    }

    /// Publishes an entry in the background, in the room that was reserved for it.
    pub fn dispatch_reserved(&self, entry: OutboxEntry, room: Reservation) {
        self.publish(entry, room.0);
    }

    fn publish(&self, entry: OutboxEntry, place: OwnedSemaphorePermit) {
        let (broker, confirmed) = (self.broker.clone(), self.confirmed.clone());
        tokio::spawn(async move {
            let _place = place;
            let answers = broker.publish(&entry.publications).await;
            match failure(answers) {
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

/// Room in flight that nobody else takes.
#[derive(Debug)]
pub struct Reservation(OwnedSemaphorePermit);

fn weight_of(entry: &OutboxEntry) -> u32 {
    let payloads = entry.publications.iter();
    let bytes = payloads.map(|message| message.payload.len()).sum();
    weight(entry.publications.len(), bytes)
}

fn weight(messages: usize, bytes: usize) -> u32 {
    let counted = messages.max(bytes / MESSAGE);
    u32::try_from(counted).map_or(IN_FLIGHT, |counted| counted.clamp(1, IN_FLIGHT))
}

/// Why an entry is to be published again.
///
/// Not for a message to a queue that nobody has any more: with it all the others of its entry would
/// come again and again, and the outbox would never be up to date. Its job waits in the store, and
/// counts as lost, and so is published, where its queue is configured again.
pub(super) fn failure(answers: Vec<Result<(), PublishError>>) -> Option<PublishError> {
    let mut failed = answers.into_iter().filter_map(Result::err);
    failed.find(|error| *error != PublishError::UnknownQueue)
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

#[cfg(test)]
mod tests;
