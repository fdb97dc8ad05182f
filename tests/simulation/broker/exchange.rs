use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use longshore::broker::{Lane, PublishError, QueueStatus, Settlement, Source, Verdict};
use longshore::job::{DispatchHeader, JobId, Message, Publication, QueueName, State as JobState};
use tokio::sync::Notify;

use crate::world::{Bug, Micros, State};

const LANES: [Lane; 3] = [Lane::Normal, Lane::High, Lane::Dead];
/// Returns after which a message is a dead letter.
const DELIVERY_LIMIT: u32 = 100;
/// Copies of one dispatch that no number of faults explains.
const TOO_MANY_COPIES: u32 = 25;

#[derive(Debug, Clone)]
pub(crate) struct Stored {
    message: Message,
    returns: u32,
    /// Not handed out before.
    visible: Micros,
}

/// A registered consumer.
#[derive(Debug)]
struct Subscriber {
    host: usize,
    source: Source,
    prefetch: usize,
    stopped: bool,
    unsettled: BTreeMap<u64, Stored>,
    wake: Arc<Notify>,
}

/// The broker: its queues and who consumes them.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    lanes: BTreeMap<Source, VecDeque<Stored>>,
    subscribers: BTreeMap<u64, Subscriber>,
    next: u64,
    pub(crate) down_until: Micros,
    pub(crate) alarm_until: Micros,
    published: BTreeMap<(JobId, i32), u32>,
}

/// What there is for a consumer.
pub(crate) enum Next {
    Delivery(u64, Message),
    /// Nothing, or nothing before that moment.
    Nothing(Option<Micros>),
    /// The connection was lost.
    Gone,
}

/// Job and dispatch, of a message that names them.
fn named(message: &Message) -> Option<(JobId, i32)> {
    let DispatchHeader::Number(dispatch) = message.dispatch else {
        return None;
    };
    let id = message.message_id.as_deref()?.parse().ok()?;
    Some((id, i32::try_from(dispatch).ok()?))
}

impl Exchange {
    pub(crate) fn is_empty(&self) -> bool {
        let held = self
            .subscribers
            .values()
            .any(|sub| !sub.unsettled.is_empty());
        !held && self.lanes.values().all(VecDeque::is_empty)
    }

    /// True if it had to be created.
    pub(crate) fn declare(&mut self, queue: &QueueName) -> bool {
        let source = |lane| Source::new(queue.clone(), lane);
        if self.lanes.contains_key(&source(Lane::Normal)) {
            return false;
        }
        for lane in LANES {
            self.lanes.insert(source(lane), VecDeque::new());
        }
        true
    }

    pub(crate) fn status(&self, source: &Source) -> Option<QueueStatus> {
        let lane = self.lanes.get(source)?;
        let consumers = self.subscribers.values();
        Some(QueueStatus {
            ready: lane.len() as u64,
            consumers: consumers.filter(|sub| sub.source == *source).count() as u64,
        })
    }

    /// Takes a message that comes from elsewhere; false if there is no queue yet.
    pub(crate) fn put(&mut self, source: &Source, message: Message) -> bool {
        let stored = Stored {
            message,
            returns: 0,
            visible: 0,
        };
        let Some(lane) = self.lanes.get_mut(source) else {
            return false;
        };
        lane.push_back(stored);
        self.wake(source);
        true
    }

    fn wake(&self, source: &Source) {
        for sub in self
            .subscribers
            .values()
            .filter(|sub| sub.source == *source)
        {
            sub.wake.notify_one();
        }
    }

    pub(crate) fn subscribe(
        &mut self,
        host: usize,
        source: &Source,
        prefetch: u16,
        wake: Arc<Notify>,
    ) -> u64 {
        self.next += 1;
        let sub = Subscriber {
            host,
            source: source.clone(),
            prefetch: usize::from(prefetch),
            stopped: false,
            unsettled: BTreeMap::new(),
            wake,
        };
        self.subscribers.insert(self.next, sub);
        self.next
    }

    pub(crate) fn stop(&mut self, id: u64) {
        if let Some(sub) = self.subscribers.get_mut(&id) {
            sub.stopped = true;
        }
    }

    pub(crate) fn unsubscribe(&mut self, id: u64) {
        let Some(sub) = self.subscribers.remove(&id) else {
            return;
        };
        sub.wake.notify_one();
        let Some(lane) = self.lanes.get_mut(&sub.source) else {
            return;
        };
        for mut stored in sub.unsettled.into_values().rev() {
            stored.returns += 1;
            lane.push_front(stored);
        }
        self.wake(&sub.source);
    }

    fn take(&mut self, id: u64, now: Micros) -> Next {
        let Some(sub) = self.subscribers.get_mut(&id) else {
            return Next::Gone;
        };
        let Some(lane) = self.lanes.get_mut(&sub.source) else {
            return Next::Gone;
        };
        if sub.stopped || sub.unsettled.len() >= sub.prefetch {
            return Next::Nothing(None);
        }
        let Some(at) = lane.iter().position(|stored| stored.visible <= now) else {
            return Next::Nothing(lane.iter().map(|stored| stored.visible).min());
        };
        let Some(stored) = lane.remove(at) else {
            return Next::Nothing(None);
        };
        self.next += 1;
        let message = stored.message.clone();
        sub.unsettled.insert(self.next, stored);
        Next::Delivery(self.next, message)
    }

    /// Another copy of that dispatch, anywhere; or only in the hands of that host.
    fn has_copy(&self, named_: (JobId, i32), of_host: Option<usize>) -> bool {
        let is = |stored: &Stored| named(&stored.message) == Some(named_);
        let held = self.subscribers.values().any(|sub| {
            of_host.is_none_or(|host| host == sub.host) && sub.unsettled.values().any(is)
        });
        held || (of_host.is_none() && self.lanes.values().flatten().any(is))
    }

    // ---- faults ------------------------------------------------------------------------------

    pub(crate) fn lanes_mut(&mut self) -> impl Iterator<Item = &mut VecDeque<Stored>> {
        let working = |(source, lane)| match source {
            &Source {
                lane: Lane::Dead, ..
            } => None,
            _ => Some(lane),
        };
        self.lanes.iter_mut().filter_map(working)
    }

    pub(crate) fn delete_queues(&mut self) {
        self.lanes.clear();
        for (_, sub) in std::mem::take(&mut self.subscribers) {
            sub.wake.notify_one();
        }
    }

    /// The connections of that host, or of all.
    pub(crate) fn disconnect(&mut self, host: Option<usize>) {
        let gone = |sub: &Subscriber| host.is_none_or(|host| host == sub.host);
        let subs = self.subscribers.iter();
        let gone: Vec<u64> = subs
            .filter(|(_, sub)| gone(sub))
            .map(|(id, _)| *id)
            .collect();
        gone.into_iter().for_each(|id| self.unsubscribe(id));
    }
}

impl State {
    /// Takes a publish, as faithfully as the knobs allow. The queue is there.
    pub(crate) fn publish(&mut self, publication: &Publication) -> Result<(), PublishError> {
        let knobs = match self.now < self.knobs.until {
            true => self.knobs,
            false => crate::plan::Knobs::default(),
        };
        if self.rng.in_a_million(knobs.publish_fails) {
            return Err(match self.rng.range(0..3) {
                0 => PublishError::Unroutable,
                1 => PublishError::Refused,
                _ => PublishError::Unavailable("simulated".to_owned()),
            });
        }
        self.enqueue(publication);
        if self.rng.in_a_million(knobs.duplicated) {
            self.enqueue(publication);
        }
        match self.rng.in_a_million(knobs.confirm_lost) {
            true => Err(PublishError::Timeout),
            false => Ok(()),
        }
    }

    pub(crate) fn enqueue(&mut self, publication: &Publication) {
        let (now, id, dispatch) = (self.now, publication.id, publication.dispatch);
        self.trace.note(now, || {
            format!("the broker takes {id} at dispatch {dispatch}")
        });
        let known = self
            .db
            .jobs
            .get(&id)
            .is_some_and(|row| row.dispatch >= dispatch);
        if !known && self.forgotten.is_none() {
            self.violated(format!(
                "P1: {id} is published at dispatch {dispatch}, which is not committed"
            ));
        }
        let copies = self.exchange.published.entry((id, dispatch)).or_default();
        *copies += 1;
        let copies = *copies;
        if copies > TOO_MANY_COPIES || (self.untroubled && copies > 1) {
            self.violated(format!(
                "P2: {id} is published for the {copies}th time at dispatch {dispatch}"
            ));
        }
        let troubled = now < self.knobs.until;
        let visible = match troubled && self.rng.in_a_million(self.knobs.delayed) {
            true => now + self.rng.range(50_000..8_000_000),
            false => 0,
        };
        let source = Source::new(publication.queue.clone(), publication.priority.into());
        let Some(lane) = self.exchange.lanes.get_mut(&source) else {
            return;
        };
        let stored = Stored {
            message: Message::from(publication),
            returns: 0,
            visible,
        };
        let end = lane.len();
        let at = match troubled && self.rng.in_a_million(self.knobs.reordered) {
            true => usize::try_from(self.rng.range(0..end as u64 + 1)).unwrap(),
            false => end,
        };
        lane.insert(at, stored);
        self.exchange.wake(&source);
    }

    pub(crate) fn hand_out(&mut self, subscriber: u64, host: usize) -> Next {
        let next = self.exchange.take(subscriber, self.now);
        if let Next::Delivery(tag, message) = &next {
            let now = self.now;
            let id = message.message_id.clone();
            self.trace
                .note(now, || format!("host {host} is handed {id:?} as {tag}"));
            if self.bug == Some(Bug::AcknowledgeFirst) {
                let verdict = Verdict::Ack;
                self.settle(subscriber, &[Settlement { tag: *tag, verdict }]);
            }
        }
        next
    }

    /// False if the connection is gone.
    pub(crate) fn settle(&mut self, subscriber: u64, settlements: &[Settlement]) -> bool {
        for Settlement { tag, verdict } in settlements {
            let Some(sub) = self.exchange.subscribers.get_mut(&subscriber) else {
                return false;
            };
            let (host, source) = (sub.host, sub.source.clone());
            let Some(mut stored) = sub.unsettled.remove(tag) else {
                continue;
            };
            sub.wake.notify_one();
            let now = self.now;
            self.trace.note(now, || format!("{tag}: {verdict:?}"));
            stored.visible = 0;
            match verdict {
                Verdict::Ack => self.acknowledged(host, &stored.message),
                Verdict::Release if stored.returns < DELIVERY_LIMIT => {
                    stored.returns += 1;
                    self.put_back(&source, stored);
                }
                Verdict::Release | Verdict::Reject => {
                    stored.returns = 0;
                    self.put_back(&Source::new(source.queue, Lane::Dead), stored);
                }
            }
        }
        true
    }

    fn put_back(&mut self, source: &Source, stored: Stored) {
        if let Some(lane) = self.exchange.lanes.get_mut(source) {
            lane.push_back(stored);
            self.exchange.wake(source);
        }
    }

    /// The broker forgets a message: somebody else must know what it was for.
    fn acknowledged(&mut self, host: usize, message: &Message) {
        let Some((id, dispatch)) = named(message) else {
            return;
        };
        let Some(row) = self.db.jobs.get(&id).filter(|row| row.dispatch == dispatch) else {
            return;
        };
        let entered = |entry: &crate::store::Entry| entry.jobs.contains(&(id, dispatch));
        let early = match row.state {
            JobState::Queued => {
                let elsewhere = self.db.outbox.values().any(entered)
                    || self.exchange.has_copy((id, dispatch), None);
                !elsewhere && !self.ledger.broker_lost && self.forgotten.is_none()
            }
            JobState::Running => {
                let owner = row.owner.and_then(|owner| self.db.processes.get(&owner));
                let ours = owner.is_some_and(|owner| owner.alive && owner.host == host);
                ours && !self.exchange.has_copy((id, dispatch), Some(host))
                    && self.hosts[host].disconnected.is_none()
                    && self.forgotten.is_none()
            }
            _ => false,
        };
        if early {
            let state = row.state;
            self.violated(format!(
                "P2: {id} is acknowledged by host {host} while it is {state}"
            ));
        }
    }
}
