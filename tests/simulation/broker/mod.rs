//! The broker of a simulation: queues in memory, behind connections that die.

mod exchange;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use longshore::broker::{
    Broker, BrokerError, Consumer, ConsumerFeed, Delivery, ObjectStatus, PublishError, QueueStatus,
    Source, consumer,
};
use longshore::job::{Message, Publication, QueueName};
use tokio::sync::{Notify, broadcast, mpsc};

pub(crate) use exchange::Exchange;
use exchange::Next;

use crate::world::{Port, State};

/// How long a publish waits for its confirm.
const PATIENCE: Duration = Duration::from_secs(5);
const RECONNECT: Duration = Duration::from_millis(300);

/// A process's connections to the broker.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedBroker {
    port: Port,
    queues: Vec<QueueName>,
    created: Arc<Created>,
}

#[derive(Debug)]
struct Created {
    listeners: broadcast::Sender<QueueName>,
    // Created before anybody listened.
    unheard: Mutex<BTreeSet<QueueName>>,
}

impl Created {
    fn announce(&self, queue: &QueueName) {
        if self.listeners.send(queue.clone()).is_err() {
            let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
            unheard.insert(queue.clone());
        }
    }
}

fn unavailable() -> BrokerError {
    BrokerError::Unavailable("simulated".to_owned())
}

impl SimulatedBroker {
    pub(crate) fn new(port: Port, queues: Vec<QueueName>) -> Self {
        let created = Created {
            listeners: broadcast::Sender::new(64),
            unheard: Mutex::default(),
        };
        Self {
            port,
            queues,
            created: Arc::new(created),
        }
    }

    fn reaches(&self, state: &State) -> bool {
        state.now >= state.exchange.down_until
            && state.now >= state.hosts[self.port.host].no_broker_until
    }

    fn declare_one(&self, state: &mut State, queue: &QueueName) {
        if self.queues.contains(queue) && state.exchange.declare(queue) {
            let now = state.now;
            state
                .trace
                .note(now, || format!("the queue {queue} is created"));
            self.created.announce(queue);
        }
    }

    async fn subscribe(&self, source: &Source, prefetch: u16, wake: &Arc<Notify>) -> Option<u64> {
        let host = self.port.host;
        self.port
            .call("consume", false, |state| {
                if !self.reaches(state) {
                    return None;
                }
                self.declare_one(state, &source.queue);
                Some(
                    state
                        .exchange
                        .subscribe(host, source, prefetch, wake.clone()),
                )
            })
            .await
    }

    /// The next delivery; `None` once the connection is lost.
    async fn next(&self, subscriber: u64, wake: &Notify) -> Option<(u64, Message)> {
        loop {
            self.port.stop_if_dead().await;
            // Nothing is waited for between taking a message and returning it.
            match self
                .port
                .with(|state| state.hand_out(subscriber, self.port.host))
            {
                Next::Delivery(tag, message) => return Some((tag, message)),
                Next::Gone => return None,
                Next::Nothing(None) => wake.notified().await,
                Next::Nothing(Some(later)) => {
                    let later = self.port.instant(later) + Duration::from_millis(1);
                    let _ = tokio::time::timeout_at(later, wake.notified()).await;
                }
            }
        }
    }

    async fn serve(self, source: Source, prefetch: u16, feed: ConsumerFeed) {
        let wake = Arc::new(Notify::new());
        loop {
            if feed.stop.is_cancelled() {
                return;
            }
            let Some(id) = self.subscribe(&source, prefetch, &wake).await else {
                let nap = tokio::time::sleep(RECONNECT);
                feed.stop.run_until_cancelled(nap).await;
                continue;
            };
            feed.registered.send_replace(true);
            let stopped = self.connected(id, &wake, &feed).await;
            feed.registered.send_replace(false);
            if let Some(settlements) = stopped {
                drop(feed);
                return self.settle_rest(id, settlements).await;
            }
        }
    }

    /// Until the connection is lost; or until the consumer stops, with what is still to come of
    /// its settlements.
    async fn connected(
        &self,
        id: u64,
        wake: &Notify,
        feed: &ConsumerFeed,
    ) -> Option<mpsc::UnboundedReceiver<longshore::broker::Settlement>> {
        let (sender, mut settlements) = mpsc::unbounded_channel();
        let mut settled = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = feed.stop.cancelled() => {
                    self.port.with(|state| state.exchange.stop(id));
                    return Some(settlements);
                }
                _ = settlements.recv_many(&mut settled, 64) => {
                    let alive = self.port.call("settle", false, |state| state.settle(id, &settled));
                    if !alive.await {
                        return None;
                    }
                    settled.clear();
                }
                next = self.next(id, wake) => {
                    let (tag, message) = next?;
                    let delivery = Delivery::new(message, tag, sender.clone());
                    // There is room for all that may be unsettled; a refusal means the end.
                    let _ = feed.deliveries.try_send(delivery);
                }
            }
        }
    }

    async fn settle_rest(
        &self,
        id: u64,
        mut settlements: mpsc::UnboundedReceiver<longshore::broker::Settlement>,
    ) {
        let mut settled = Vec::new();
        while settlements.recv_many(&mut settled, 64).await > 0 {
            let settle = |state: &mut State| state.settle(id, &settled);
            if !self.port.call("settle", false, settle).await {
                return;
            }
            settled.clear();
        }
        self.port
            .call("unsubscribe", false, |state| state.exchange.unsubscribe(id))
            .await;
    }
}

#[async_trait]
impl Broker for SimulatedBroker {
    async fn publish(&self, batch: &[Publication]) -> Vec<Result<(), PublishError>> {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let published = self.port.call("publish", false, |state| {
                if !self.reaches(state) {
                    let down = PublishError::Unavailable("simulated".to_owned());
                    return Some(vec![Err(down); batch.len()]);
                }
                if state.now < state.exchange.alarm_until {
                    return None;
                }
                let publish = |publication: &Publication| {
                    self.declare_one(state, &publication.queue);
                    state.publish(publication)
                };
                Some(batch.iter().map(publish).collect())
            });
            match published.await {
                Some(answers) => return answers,
                None if tokio::time::Instant::now() > end => {
                    return vec![Err(PublishError::Timeout); batch.len()];
                }
                None => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    fn accepts(&self) -> bool {
        self.port
            .with(|state| self.reaches(state) && state.now >= state.exchange.alarm_until)
    }

    async fn consume(&self, source: Source, prefetch: u16) -> Consumer {
        let (feed, consumer) = consumer(prefetch);
        tokio::spawn(self.clone().serve(source, prefetch, feed));
        consumer
    }

    async fn status(&self, source: &Source) -> Result<QueueStatus, BrokerError> {
        let status = self.port.call("status", false, |state| {
            self.reaches(state).then(|| state.exchange.status(source))
        });
        match status.await {
            Some(Some(status)) => Ok(status),
            Some(None) => Err(BrokerError::NoQueue(source.to_string())),
            None => Err(unavailable()),
        }
    }

    async fn declare(&self) -> Result<(), BrokerError> {
        let declared = self.port.call("declare", false, |state| {
            let reaches = self.reaches(state);
            if reaches {
                for queue in &self.queues {
                    self.declare_one(state, queue);
                }
            }
            reaches
        });
        declared.await.then_some(()).ok_or_else(unavailable)
    }

    async fn topology(&self) -> Result<Vec<ObjectStatus>, BrokerError> {
        Err(unavailable())
    }

    fn created(&self) -> broadcast::Receiver<QueueName> {
        let mut unheard = self
            .created
            .unheard
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let listener = self.created.listeners.subscribe();
        for queue in std::mem::take(&mut *unheard) {
            let _ = self.created.listeners.send(queue);
        }
        listener
    }

    async fn version(&self) -> Result<String, BrokerError> {
        Ok("simulated".to_owned())
    }

    async fn close(&self) {
        let host = self.port.host;
        self.port
            .with(|state| state.exchange.disconnect(Some(host)));
    }
}
