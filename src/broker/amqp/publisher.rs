//! Publishing: one task owns a confirm channel and keeps many publishes in flight.

mod connect;
mod flight;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::connect::{Session, reason};
use self::flight::{Flight, Landing, Lost};
use super::connection::{Backoff, Connections, closed, discard};
use super::topology::Topology;
use crate::broker::PublishError;
use crate::job::Publication;

/// How long a message may wait to be sent. With the time for its confirm, still within the lease
/// of the outbox entry that it is from.
const SEND_TIMEOUT: Duration = Duration::from_secs(15);
/// Messages taken in by the task and not sent yet.
const WAITING: usize = 2_000;
/// From taking a message in to giving up on its confirm.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// How often deadlines and the connection are looked at.
const LOOK: Duration = Duration::from_millis(100);
const BACKOFF_CAP: Duration = Duration::from_secs(5);
/// A connection that held this long was a good one: the next is tried at once.
const GOOD: Duration = Duration::from_secs(5);
/// RabbitMQ 4 closes the channel on a larger message (`max_message_size`), and with it fails
/// all the others in flight.
const MAX_BODY: usize = 16 * 1024 * 1024;

type Answer = Result<(), PublishError>;

/// A message and whoever waits for its confirm.
struct Pending {
    publication: Publication,
    answer: oneshot::Sender<Answer>,
    taken: Instant,
    // Counts what was taken in: what is sent again keeps its place.
    place: u64,
    // It was returned or its exchange was missing; what is missing has been declared since.
    // The next time is the last.
    again: bool,
    // It was in flight when the broker closed the channel over one of its messages: it flies
    // alone, so that only the guilty one is refused.
    suspect: bool,
}

impl Pending {
    fn settle(self, answer: Answer) {
        // Nobody waits any more: the caller was cancelled.
        let _ = self.answer.send(answer);
    }

    /// True when it has waited too long to be sent.
    fn overdue(&self) -> bool {
        self.taken.elapsed() >= SEND_TIMEOUT
    }

    /// Counted from when it was sent, or, while it waits, from when it was taken in: a broker
    /// that is slow but confirms must not see everything twice.
    fn expired(&self) -> bool {
        self.taken.elapsed() >= CONFIRM_TIMEOUT
    }
}

/// Hands messages to the task that publishes.
#[derive(Debug)]
pub(super) struct Publisher {
    requests: mpsc::Sender<Pending>,
    /// Whether there is a channel, and the broker takes what is published on it.
    open: Arc<AtomicBool>,
}

impl Publisher {
    /// The publisher and its task, which ends when `closed` fires.
    pub(super) fn new(
        connections: Arc<Connections>,
        topology: Arc<Topology>,
        closed: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (requests, arrivals) = mpsc::channel(WAITING);
        let open = Arc::new(AtomicBool::new(false));
        let task = Task {
            open: open.clone(),
            connections,
            topology,
            closed,
            arrivals,
            waiting: VecDeque::new(),
            taken_in: 0,
        };
        (Self { requests, open }, task.run())
    }

    /// Whether a publish has a chance now.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Answers in the order of the batch.
    pub(super) async fn publish(&self, batch: &[Publication]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(batch.len());
        for publication in batch {
            let (answer, answered) = oneshot::channel();
            let pending = Pending {
                publication: publication.clone(),
                answer,
                taken: Instant::now(),
                place: 0,
                again: false,
                suspect: false,
            };
            // A closed task drops the sender, which answers below.
            let _ = self.requests.send(pending).await;
            answers.push(answered);
        }
        let mut results = Vec::with_capacity(batch.len());
        for answered in answers {
            let cut_off = || Err(PublishError::Unavailable(reason(closed())));
            results.push(answered.await.unwrap_or_else(|_| cut_off()));
        }
        results
    }
}

/// Why a confirm channel is done with.
enum End {
    Closed,
    // Only the channel is lost. `declare`: an exchange was missing.
    Channel { declare: bool },
    Connection(String),
}

struct Task {
    open: Arc<AtomicBool>,
    connections: Arc<Connections>,
    topology: Arc<Topology>,
    closed: CancellationToken,
    arrivals: mpsc::Receiver<Pending>,
    // In the order of their places.
    waiting: VecDeque<Pending>,
    taken_in: u64,
}

impl Task {
    async fn run(mut self) {
        let mut backoff = Backoff::new(BACKOFF_CAP);
        let mut link = None;
        let mut declare = false;
        let mut wait = Duration::ZERO;
        while let Some(session) = self.connect(link.take(), wait, &mut backoff).await {
            let since = Instant::now();
            let end = self.publish_on(&session, declare).await;
            self.open.store(false, Ordering::Relaxed);
            declare = matches!(end, End::Channel { declare: true });
            match end {
                End::Closed => break,
                // Each time at least one message is answered, so this cannot spin.
                End::Channel { .. } => link = Some(session.link),
                End::Connection(reason) => {
                    tracing::warn!(reason, "lost the connection for publishing");
                    discard(session.link);
                    if since.elapsed() >= GOOD {
                        backoff.reset();
                    }
                    wait = backoff.next();
                    continue;
                }
            }
            wait = Duration::ZERO;
        }
        self.arrivals.close();
        while let Ok(late) = self.arrivals.try_recv() {
            self.take_in(late);
        }
        self.refuse(&reason(closed()));
    }

    /// Publishes until the channel is lost.
    async fn publish_on(&mut self, session: &Session, declare: bool) -> End {
        let closed = self.closed.clone();
        let mut flight = Flight::new(session.channel.clone());
        let mut declaring: Option<BoxFuture<'static, ()>> = declare.then(|| self.declare());
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // What waits may need what is being declared.
            let blocked = session.link.status().blocked();
            self.open.store(!blocked, Ordering::Relaxed);
            if declaring.is_none() && !blocked {
                self.take_off(&mut flight);
            }
            let room = WAITING.saturating_sub(self.waiting.len());
            tokio::select! {
                biased;
                () = closed.cancelled() => {
                    self.ground(&mut flight, &Lost::Connection("closed".to_owned()));
                    return End::Closed;
                }
                landed = flight.land(), if !flight.is_empty() => {
                    let missing = match self.settle(landed, &mut flight) {
                        Ok(missing) => missing,
                        Err(end) => return end,
                    };
                    if missing && declaring.is_none() {
                        declaring = Some(self.declare());
                    }
                }
                Some(()) = OptionFuture::from(declaring.as_mut()) => declaring = None,
                Some(pending) = self.arrivals.recv(), if room > 0 => {
                    self.take_in(pending);
                    while self.waiting.len() < WAITING {
                        let Ok(pending) = self.arrivals.try_recv() else { break };
                        self.take_in(pending);
                    }
                }
                _ = look.tick() => {
                    if let Some(end) = self.look(session, &mut flight) {
                        return end;
                    }
                }
            }
        }
    }

    /// Sends what waits, in order, as far as there is room in flight.
    fn take_off(&mut self, flight: &mut Flight) {
        while let Some(next) = self.waiting.front() {
            if !flight.has_room_for(next) {
                return;
            }
            let Some(next) = self.waiting.pop_front() else {
                return;
            };
            if next.publication.payload.len() > MAX_BODY {
                next.settle(Err(PublishError::Refused));
            } else {
                flight.send(next);
            }
        }
    }

    /// Answers what has landed. True if something found no queue, and waits to be sent again.
    fn settle(&mut self, landed: Vec<Landing>, flight: &mut Flight) -> Result<bool, End> {
        let (mut missing, mut unsent) = (Vec::new(), Vec::new());
        let mut lost = None;
        for landing in landed {
            match landing {
                Landing::Confirmed(pending) => pending.settle(Ok(())),
                Landing::Refused(pending) => pending.settle(Err(PublishError::Refused)),
                Landing::Unsent(pending) => unsent.push(pending),
                Landing::Returned(mut pending) => {
                    if !self.topology.knows(&pending.publication.queue) {
                        pending.settle(Err(PublishError::UnknownQueue));
                    } else if pending.again {
                        pending.settle(Err(PublishError::Unroutable));
                    } else {
                        pending.again = true;
                        missing.push(pending);
                    }
                }
                Landing::Lost(reason) => lost = lost.or(Some(reason)),
            }
        }
        let found_all = missing.is_empty();
        if !found_all || !unsent.is_empty() {
            self.send_again(missing.into_iter().chain(unsent));
        }
        match lost {
            Some(lost) => Err(self.ground(flight, &lost)),
            None if flight.is_over() => Err(End::Channel {
                declare: !found_all,
            }),
            None => Ok(!found_all),
        }
    }

    fn take_in(&mut self, mut pending: Pending) {
        pending.place = self.taken_in;
        self.taken_in += 1;
        self.waiting.push_back(pending);
    }

    /// Lets `pending` wait again, where it was.
    fn send_again(&mut self, pending: impl IntoIterator<Item = Pending>) {
        for pending in pending {
            self.waiting.push_front(pending);
        }
        let waiting = self.waiting.make_contiguous();
        waiting.sort_by_key(|pending| pending.place);
    }

    /// Deals with everything that was in flight on a channel that is lost.
    fn ground(&mut self, flight: &mut Flight, lost: &Lost) -> End {
        let aloft = flight.take_all();
        let alone = aloft.len() == 1;
        let mut again = Vec::new();
        for mut pending in aloft {
            match lost {
                Lost::Connection(reason) => {
                    pending.settle(Err(PublishError::Unavailable(reason.clone())));
                }
                Lost::NoExchange if pending.again => {
                    pending.settle(Err(PublishError::Unroutable));
                }
                Lost::NoExchange => {
                    pending.again = true;
                    again.push(pending);
                }
                Lost::Refused(reason) if alone => {
                    tracing::warn!(job.id = %pending.publication.id, reason, "the broker refused a message");
                    pending.settle(Err(PublishError::Refused));
                }
                Lost::Refused(_) => {
                    pending.suspect = true;
                    again.push(pending);
                }
            }
        }
        self.send_again(again);
        match lost {
            Lost::Connection(reason) => End::Connection(reason.clone()),
            Lost::NoExchange => End::Channel { declare: true },
            Lost::Refused(_) => End::Channel { declare: false },
        }
    }

    /// Answers what is overdue, and says if the channel must go.
    fn look(&mut self, session: &Session, flight: &mut Flight) -> Option<End> {
        if !session.link.status().connected() {
            let lost = Lost::Connection("the connection was lost".to_owned());
            return Some(self.ground(flight, &lost));
        }
        while self.waiting.front().is_some_and(Pending::overdue) {
            if let Some(late) = self.waiting.pop_front() {
                late.settle(Err(PublishError::Timeout));
            }
        }
        let late = flight.take_expired();
        if late.is_empty() {
            return None;
        }
        tracing::warn!(messages = late.len(), "the broker did not confirm in time");
        for pending in late {
            pending.settle(Err(PublishError::Timeout));
        }
        // While the broker blocks publishers nothing at all is written to the connection, not
        // even a goodbye: keep the channel, and its place in the window, until it unblocks.
        if session.link.status().blocked() {
            return None;
        }
        // What is younger is sent again, with its old deadline.
        self.send_again(flight.take_all());
        Some(End::Channel { declare: false })
    }

    /// Declares everything on a connection of its own, which no alarm blocks.
    fn declare(&self) -> BoxFuture<'static, ()> {
        let (connections, topology) = (self.connections.clone(), self.topology.clone());
        Box::pin(async move {
            let declared = match connections.open().await {
                Ok(link) => topology.declare(&link).await,
                Err(error) => Err(error),
            };
            if let Err(error) = declared {
                tracing::warn!(%error, "cannot declare what a message needs");
            }
        })
    }
}
