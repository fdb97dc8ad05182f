use std::collections::{BTreeMap, VecDeque};

use tokio::sync::mpsc;

use crate::broker::{Delivery, Settlement, Verdict};
use crate::job::Message;

/// Returns after which a message is a dead letter, as on RabbitMQ (`x-delivery-limit`).
const DELIVERY_LIMIT: u32 = 100;

/// A message and how often it came back.
#[derive(Debug)]
pub(super) struct Stored {
    message: Message,
    returns: u32,
}

impl Stored {
    pub(super) const fn new(message: Message) -> Self {
        Self {
            message,
            returns: 0,
        }
    }

    /// As a dead letter: a message new to its queue.
    pub(super) fn buried(self) -> Self {
        Self::new(self.message)
    }

    fn came_back(mut self) -> Self {
        self.returns = self.returns.saturating_add(1);
        self
    }
}

/// The queue's side of a consumer.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) id: u64,
    pub(super) prefetch: usize,
    // `None` once it takes no more.
    pub(super) deliveries: Option<mpsc::Sender<Delivery>>,
    pub(super) settlements: mpsc::WeakUnboundedSender<Settlement>,
    // By tag, so in the order of delivery.
    unsettled: BTreeMap<u64, Stored>,
    next_tag: u64,
}

impl Subscriber {
    pub(super) const fn new(
        id: u64,
        prefetch: usize,
        deliveries: mpsc::Sender<Delivery>,
        settlements: mpsc::WeakUnboundedSender<Settlement>,
    ) -> Self {
        Self {
            id,
            prefetch,
            deliveries: Some(deliveries),
            settlements,
            unsettled: BTreeMap::new(),
            next_tag: 1,
        }
    }

    /// Gives `stored` back if there is no room for it.
    fn offer(&mut self, stored: Stored) -> Option<Stored> {
        let (Some(deliveries), Some(settlements)) = (&self.deliveries, self.settlements.upgrade())
        else {
            return Some(stored);
        };
        if self.unsettled.len() >= self.prefetch {
            return Some(stored);
        }
        let tag = self.next_tag;
        let delivery = Delivery::new(stored.message.clone(), tag, settlements);
        // There is room for `prefetch` deliveries: a refusal means that the consumer is gone.
        if deliveries.try_send(delivery).is_err() {
            return Some(stored);
        }
        self.next_tag += 1;
        self.unsettled.insert(tag, stored);
        None
    }
}

/// One lane of a queue: its messages, and who takes them.
#[derive(Debug)]
pub(super) struct Lane {
    delivery_limit: u32,
    ready: VecDeque<Stored>,
    // In the order in which they take turns.
    subscribers: VecDeque<Subscriber>,
}

impl Lane {
    /// A lane that dead-letters what came back too often.
    pub(super) const fn working() -> Self {
        Self::with_limit(DELIVERY_LIMIT)
    }

    /// A lane that keeps its messages however often they come back.
    pub(super) const fn dead() -> Self {
        Self::with_limit(u32::MAX)
    }

    const fn with_limit(delivery_limit: u32) -> Self {
        Self {
            delivery_limit,
            ready: VecDeque::new(),
            subscribers: VecDeque::new(),
        }
    }

    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Those that take deliveries.
    pub(super) fn consumers(&self) -> usize {
        self.subscribers
            .iter()
            .filter(|subscriber| subscriber.deliveries.is_some())
            .count()
    }

    pub(super) fn push(&mut self, stored: Stored) {
        self.ready.push_back(stored);
        self.dispatch();
    }

    pub(super) fn subscribe(&mut self, subscriber: Subscriber) {
        self.subscribers.push_back(subscriber);
        self.dispatch();
    }

    /// No more deliveries for that consumer; it can still settle.
    pub(super) fn stop(&mut self, id: u64) {
        if let Some(subscriber) = self.subscriber(id) {
            subscriber.deliveries = None;
        }
    }

    /// Applies what a consumer decided. Returns the dead letters.
    #[must_use]
    pub(super) fn settle(&mut self, id: u64, settlements: &mut Vec<Settlement>) -> Vec<Stored> {
        let mut dead = Vec::new();
        for Settlement { tag, verdict } in settlements.drain(..) {
            let Some(stored) = self.subscriber(id).and_then(|s| s.unsettled.remove(&tag)) else {
                continue;
            };
            match verdict {
                Verdict::Ack => {}
                Verdict::Reject => dead.push(stored),
                Verdict::Release => {
                    let stored = stored.came_back();
                    if stored.returns > self.delivery_limit {
                        dead.push(stored);
                    } else {
                        self.ready.push_back(stored);
                    }
                }
            }
        }
        self.dispatch();
        dead
    }

    /// The consumer is gone: what it did not settle goes back to the front, in its old order.
    /// Returns the dead letters.
    #[must_use]
    pub(super) fn unsubscribe(&mut self, id: u64) -> Vec<Stored> {
        let Some(at) = self.subscribers.iter().position(|s| s.id == id) else {
            return Vec::new();
        };
        let unsettled = self.subscribers.remove(at).map(|s| s.unsettled);
        let returned = unsettled.into_iter().flat_map(BTreeMap::into_values);
        let (dead, alive): (Vec<_>, Vec<_>) = returned
            .map(Stored::came_back)
            .partition(|stored| stored.returns > self.delivery_limit);
        for stored in alive.into_iter().rev() {
            self.ready.push_front(stored);
        }
        self.dispatch();
        dead
    }

    fn subscriber(&mut self, id: u64) -> Option<&mut Subscriber> {
        self.subscribers.iter_mut().find(|s| s.id == id)
    }

    /// Hands out what is ready, one message a turn.
    fn dispatch(&mut self) {
        while let Some(stored) = self.ready.pop_front() {
            if let Some(stored) = self.offer(stored) {
                self.ready.push_front(stored);
                return;
            }
        }
    }

    /// Gives `stored` back if nobody has room for it.
    fn offer(&mut self, mut stored: Stored) -> Option<Stored> {
        for _ in 0..self.subscribers.len() {
            let next = self.subscribers.front_mut()?;
            let refused = next.offer(stored);
            self.subscribers.rotate_left(1);
            stored = refused?;
        }
        Some(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: u32) -> Stored {
        Stored::new(Message {
            message_id: Some(id.to_string()),
            ..Message::default()
        })
    }

    struct Taker {
        deliveries: mpsc::Receiver<Delivery>,
        settlements: mpsc::UnboundedReceiver<Settlement>,
        _sender: mpsc::UnboundedSender<Settlement>,
    }

    impl Taker {
        fn join(lane: &mut Lane, id: u64, prefetch: usize) -> Self {
            let (sender, deliveries) = mpsc::channel(prefetch);
            let (settlements, receiver) = mpsc::unbounded_channel();
            let weak = settlements.downgrade();
            lane.subscribe(Subscriber::new(id, prefetch, sender, weak));
            Self {
                deliveries,
                settlements: receiver,
                _sender: settlements,
            }
        }

        fn next(&mut self) -> Option<Delivery> {
            self.deliveries.try_recv().ok()
        }

        fn ids(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.next())
                .filter_map(|delivery| delivery.message.message_id)
                .collect()
        }

        fn decided(&mut self) -> Vec<Settlement> {
            std::iter::from_fn(|| self.settlements.try_recv().ok()).collect()
        }
    }

    #[test]
    fn consumers_take_turns_within_their_prefetch() {
        let mut lane = Lane::working();
        let mut first = Taker::join(&mut lane, 1, 2);
        let mut second = Taker::join(&mut lane, 2, 10);
        for id in 0..7 {
            lane.push(message(id));
        }
        assert_eq!(first.ids(), ["0", "2"]);
        assert_eq!(second.ids(), ["1", "3", "4", "5", "6"]);
    }

    #[test]
    fn what_a_gone_consumer_held_is_next_in_its_old_order() {
        let mut lane = Lane::working();
        let first = Taker::join(&mut lane, 1, 3);
        for id in 0..5 {
            lane.push(message(id));
        }
        assert!(lane.unsubscribe(1).is_empty());
        drop(first);
        assert_eq!(
            Taker::join(&mut lane, 2, 9).ids(),
            ["0", "1", "2", "3", "4"]
        );
    }

    #[test]
    fn the_delivery_limit_makes_dead_letters_and_spares_them() {
        for (mut lane, returns) in [(Lane::working(), Some(101)), (Lane::dead(), None)] {
            lane.push(message(0));
            let mut taker = Taker::join(&mut lane, 1, 1);
            let died = (1..=300).find(|_| {
                taker.next().unwrap().release();
                !lane.settle(1, &mut taker.decided()).is_empty()
            });
            assert_eq!(died, returns);
        }
    }
}
