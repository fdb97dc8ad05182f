use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::job::Message;

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Done with: the broker forgets it.
    Ack,
    /// To the dead-letter queue.
    Reject,
    /// Back to its queue at once, for another consumer. Only for deliveries that were never
    /// claimed, when this process stops taking: it counts towards the broker's delivery limit.
    Release,
}

/// A verdict on its way to the connection that its delivery came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// The delivery's tag on that connection.
    pub tag: u64,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// A message in our hands, until it is settled. Settling consumes it, so nothing is settled
/// twice; a delivery that is dropped stays with the broker, which delivers it again once the
/// consumer ends.
#[derive(Debug)]
pub struct Delivery {
    /// What was delivered.
    pub message: Message,
    tag: u64,
    // Belongs to one connection's channel. When that is lost the receiver is gone and a
    // settlement goes nowhere, as it must: tags mean nothing on another channel, and the broker
    // delivers the message again.
    settlements: mpsc::UnboundedSender<Settlement>,
}

impl Delivery {
    /// A delivery that came with `tag` on the channel behind `settlements`.
    #[must_use]
    pub const fn new(
        message: Message,
        tag: u64,
        settlements: mpsc::UnboundedSender<Settlement>,
    ) -> Self {
        Self {
            message,
            tag,
            settlements,
        }
    }

    /// The broker may forget it.
    pub fn ack(self) {
        self.settle(Verdict::Ack);
    }

    /// The broker moves it to the dead-letter queue.
    pub fn reject(self) {
        self.settle(Verdict::Reject);
    }

    /// The broker gives it to another consumer; see [`Verdict::Release`].
    pub fn release(self) {
        self.settle(Verdict::Release);
    }

    fn settle(self, verdict: Verdict) {
        // A closed receiver is a lost channel; see the field.
        let _ = self.settlements.send(Settlement {
            tag: self.tag,
            verdict,
        });
    }
}

/// A subscription that outlives connections.
#[derive(Debug)]
pub struct Consumer {
    deliveries: mpsc::Receiver<Delivery>,
    registered: watch::Receiver<bool>,
    stop: CancellationToken,
}

impl Consumer {
    /// The next delivery; `None` after [`Consumer::stop`] once all that had arrived are handed
    /// out, or after the broker was closed.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    /// True while the broker has this consumer registered.
    #[must_use]
    pub fn registered(&self) -> watch::Receiver<bool> {
        self.registered.clone()
    }

    /// Takes no more deliveries. Those in hand can still be settled; the channel closes, and
    /// the broker takes back what is not, when the consumer and all its deliveries are dropped.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The broker's side of a [`Consumer`].
#[derive(Debug)]
pub struct ConsumerFeed {
    /// Where deliveries go.
    pub deliveries: mpsc::Sender<Delivery>,
    /// Whether the broker has the consumer registered.
    pub registered: watch::Sender<bool>,
    /// Fires when the consumer wants no more.
    pub stop: CancellationToken,
}

/// A consumer and the feed behind it, with room for `prefetch` deliveries.
#[must_use]
pub fn consumer(prefetch: u16) -> (ConsumerFeed, Consumer) {
    let (deliveries, receiver) = mpsc::channel(usize::from(prefetch.max(1)));
    let (registered, watching) = watch::channel(false);
    let stop = CancellationToken::new();
    let feed = ConsumerFeed {
        deliveries,
        registered,
        stop: stop.clone(),
    };
    let consumer = Consumer {
        deliveries: receiver,
        registered: watching,
        stop,
    };
    (feed, consumer)
}
