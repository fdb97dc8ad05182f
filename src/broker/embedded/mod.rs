//! The in-process broker: the semantics of RabbitMQ without RabbitMQ, for `longshore dev`.
//!
//! It holds nothing that matters: at each start every queue counts as created anew, and what
//! is live in the store is published again.

mod lane;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::lane::{Stored, Subscriber};
use super::created::Created;
use super::{
    Broker, BrokerError, Consumer, ConsumerFeed, Lane, ObjectStatus, PublishError, QueueStatus,
    Settlement, Source,
};
use crate::job::{Message, Publication, QueueName};

const LANES: [Lane; 3] = [Lane::Normal, Lane::High, Lane::Dead];
/// Settlements applied under one lock.
const SETTLE_AT_ONCE: usize = 1024;

/// An in-process broker with the lanes, prefetch, dead-lettering and delivery limit of
/// RabbitMQ's queues.
#[derive(Debug)]
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    queues: Vec<QueueName>,
    // Never held across an await.
    state: Mutex<State>,
    created: Created,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    // A queue is here once it has been declared.
    lanes: HashMap<Source, lane::Lane>,
    next_subscriber: u64,
}

impl EmbeddedBroker {
    /// A broker with these queues, none of them declared yet.
    #[must_use]
    pub fn new(queues: &[QueueName]) -> Self {
        let shared = Shared {
            queues: queues.to_vec(),
            state: Mutex::default(),
            created: Created::new(),
            closed: CancellationToken::new(),
        };
        Self {
            shared: Arc::new(shared),
            tasks: TaskTracker::new(),
        }
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.shared.closed.cancel();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if no such queue is configured.
    fn declare(&self, queue: &QueueName) -> bool {
        if !self.queues.contains(queue) {
            return false;
        }
        let mut state = self.state();
        let source = |lane| Source::new(queue.clone(), lane);
        if !state.lanes.contains_key(&source(Lane::Normal)) {
            for lane in LANES {
                let empty = match lane {
                    Lane::Normal | Lane::High => lane::Lane::working(),
                    Lane::Dead => lane::Lane::dead(),
                };
                state.lanes.insert(source(lane), empty);
            }
            self.created.announce(queue);
        }
        true
    }

    fn publish(&self, publication: &Publication) -> Result<(), PublishError> {
        if self.closed.is_cancelled() {
            return Err(PublishError::Unavailable(closed()));
        }
        if !self.declare(&publication.queue) {
            return Err(PublishError::UnknownQueue);
        }
        let source = Source::new(publication.queue.clone(), publication.priority.into());
        match self.state().lanes.get_mut(&source) {
            Some(lane) => lane.push(Stored::new(Message::from(publication))),
            None => return Err(PublishError::Unroutable),
        }
        Ok(())
    }

    /// `None` if no such queue is configured, or the broker is closed.
    fn subscribe(
        &self,
        source: &Source,
        prefetch: u16,
        deliveries: mpsc::Sender<super::Delivery>,
        settlements: mpsc::WeakUnboundedSender<Settlement>,
    ) -> Option<u64> {
        if self.closed.is_cancelled() || !self.declare(&source.queue) {
            return None;
        }
        let mut state = self.state();
        let id = state.next_subscriber;
        state.next_subscriber += 1;
        let prefetch = usize::from(prefetch.max(1));
        let subscriber = Subscriber::new(id, prefetch, deliveries, settlements);
        state.lanes.get_mut(source)?.subscribe(subscriber);
        Some(id)
    }

    fn stop(&self, source: &Source, id: u64) {
        if let Some(lane) = self.state().lanes.get_mut(source) {
            lane.stop(id);
        }
    }

    fn settle(&self, source: &Source, id: u64, settlements: &mut Vec<Settlement>) {
        let mut state = self.state();
        let dead = match state.lanes.get_mut(source) {
            Some(lane) => lane.settle(id, settlements),
            None => return,
        };
        state.bury(source, dead);
    }

    fn unsubscribe(&self, source: &Source, id: u64) {
        let mut state = self.state();
        let dead = match state.lanes.get_mut(source) {
            Some(lane) => lane.unsubscribe(id),
            None => return,
        };
        state.bury(source, dead);
    }

    /// Serves one consumer until it and its last delivery are gone.
    async fn serve(self: Arc<Self>, source: Source, prefetch: u16, feed: ConsumerFeed) {
        let ConsumerFeed {
            deliveries,
            registered,
            stop,
        } = feed;
        let (sender, settlements) = mpsc::unbounded_channel();
        let Some(id) = self.subscribe(&source, prefetch, deliveries.clone(), sender.downgrade())
        else {
            // As on RabbitMQ, where such a consumer waits for a queue that nobody declares.
            tracing::warn!(queue = %source, "not consuming: no such queue is configured");
            let _deliveries = deliveries;
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.closed.cancelled() => {}
            }
            return;
        };
        drop(deliveries);
        registered.send_replace(true);
        self.settle_all(&source, id, sender, settlements, &stop, &registered)
            .await;
        registered.send_replace(false);
        self.unsubscribe(&source, id);
    }

    async fn settle_all(
        &self,
        source: &Source,
        id: u64,
        sender: mpsc::UnboundedSender<Settlement>,
        mut settlements: mpsc::UnboundedReceiver<Settlement>,
        stop: &CancellationToken,
        registered: &watch::Sender<bool>,
    ) {
        // Deliveries hold the others: with this one gone, `settlements` ends with the last.
        let mut sender = Some(sender);
        let mut settled = Vec::with_capacity(SETTLE_AT_ONCE);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if sender.is_some() => {
                    registered.send_replace(false);
                    self.stop(source, id);
                    sender = None;
                }
                count = settlements.recv_many(&mut settled, SETTLE_AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    self.settle(source, id, &mut settled);
                }
                // After what was settled before the end.
                () = self.closed.cancelled() => {
                    self.stop(source, id);
                    return;
                }
            }
        }
    }
}

impl State {
    /// To the dead-letter lane; from there, away.
    fn bury(&mut self, source: &Source, dead: Vec<Stored>) {
        if source.lane == Lane::Dead {
            return;
        }
        let grave = Source::new(source.queue.clone(), Lane::Dead);
        if let Some(lane) = self.lanes.get_mut(&grave) {
            for stored in dead {
                lane.push(stored.buried());
            }
        }
    }
}

fn closed() -> String {
    "the embedded broker is closed".to_owned()
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn publish(&self, batch: &[Publication]) -> Vec<Result<(), PublishError>> {
        batch.iter().map(|p| self.shared.publish(p)).collect()
    }

    fn accepts(&self) -> bool {
        true
    }

    async fn consume(&self, source: Source, prefetch: u16) -> Consumer {
        let (feed, consumer) = super::consumer(prefetch);
        let shared = self.shared.clone();
        self.tasks.spawn(shared.serve(source, prefetch, feed));
        consumer
    }

    async fn status(&self, source: &Source) -> Result<QueueStatus, BrokerError> {
        match self.shared.state().lanes.get(source) {
            Some(lane) => Ok(QueueStatus {
                ready: lane.ready() as u64,
                consumers: lane.consumers() as u64,
            }),
            None => Err(BrokerError::NoQueue(source.to_string())),
        }
    }

    async fn declare(&self) -> Result<(), BrokerError> {
        if self.shared.closed.is_cancelled() {
            return Err(BrokerError::Unavailable(closed()));
        }
        for queue in &self.shared.queues {
            self.shared.declare(queue);
        }
        Ok(())
    }

    async fn topology(&self) -> Result<Vec<ObjectStatus>, BrokerError> {
        let state = self.shared.state();
        let object = |source: Source| ObjectStatus {
            object: "queue",
            name: source.to_string(),
            expected: "in this process".to_owned(),
            status: match state.lanes.contains_key(&source) {
                true => "declared",
                false => "missing",
            },
            detail: None,
        };
        let queues = self.shared.queues.iter();
        let sources = queues.flat_map(|q| LANES.map(|lane| Source::new(q.clone(), lane)));
        Ok(sources.map(object).collect())
    }

    async fn round_trip(&self) -> Result<(), BrokerError> {
        Ok(())
    }

    fn created(&self) -> broadcast::Receiver<QueueName> {
        self.shared.created.subscribe()
    }

    async fn version(&self) -> Result<String, BrokerError> {
        Ok(format!("embedded {}", env!("CARGO_PKG_VERSION")))
    }

    async fn close(&self) {
        self.shared.closed.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
