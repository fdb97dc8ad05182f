use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation, ErrorKind};

use super::Pending;
use crate::broker::amqp::message::properties;
use crate::broker::amqp::topology::{JOBS, is_not_found};
use crate::broker::{Lane, Source};
use crate::job::Publication;

/// Messages in flight at most.
const WINDOW: usize = 2_000;
/// Bytes of payload in flight at most, unless one message alone has more: lapin keeps a copy
/// of each until it is written.
const WINDOW_BYTES: usize = 32 * 1024 * 1024;

/// What became of a message in flight.
pub(super) enum Landing {
    Confirmed(Pending),
    Refused(Pending),
    // The channel was closed before it was sent.
    Unsent(Pending),
    // No queue took it; or perhaps one did (see `Flight::land`), which is harmless.
    Returned(Pending),
    // The channel is lost, and everything in flight with it.
    Lost(Lost),
}

/// How a channel was lost.
pub(super) enum Lost {
    Connection(String),
    NoExchange,
    // The broker closed the channel over something that was sent on it.
    Refused(String),
}

impl From<&lapin::Error> for Lost {
    fn from(error: &lapin::Error) -> Self {
        if is_not_found(error) {
            Self::NoExchange
        } else if error.is_amqp_soft_error() {
            Self::Refused(error.to_string())
        } else {
            Self::Connection(error.to_string())
        }
    }
}

/// The broker's answer to one message, without what lapin carries along with it: thousands are
/// moved about at a time.
enum Answer {
    Acked,
    Nacked,
    // With the identity of a returned message, perhaps another's.
    Returned { nacked: bool, whose: Box<Identity> },
    Unasked,
    // The channel was closed before it was sent.
    Unsent,
    Lost(Box<lapin::Error>),
}

/// How a publish ended, by its number.
type Landed = (u64, Answer);

/// Message id and routing key.
type Identity = (String, String);

impl From<Confirmation> for Answer {
    fn from(confirmation: Confirmation) -> Self {
        match confirmation {
            Confirmation::Ack(None) => Self::Acked,
            Confirmation::Nack(None) => Self::Nacked,
            Confirmation::Ack(Some(message)) => Self::Returned {
                nacked: false,
                whose: Box::new(identity(&message)),
            },
            Confirmation::Nack(Some(message)) => Self::Returned {
                nacked: true,
                whose: Box::new(identity(&message)),
            },
            Confirmation::NotRequested => Self::Unasked,
        }
    }
}

/// The messages in flight on one confirm channel.
pub(super) struct Flight {
    channel: Arc<Channel>,
    // Every publish until the broker has answered, also those that were given up waiting for:
    // they still take room in lapin.
    confirms: FuturesUnordered<BoxFuture<'static, Landed>>,
    // In the order of sending.
    aloft: BTreeMap<u64, Pending>,
    bytes: usize,
    next: u64,
    // The channel takes no more.
    grounded: bool,
    // By message id and routing key: returns that have come before their own confirm.
    returned: HashMap<Identity, usize>,
}

impl Flight {
    pub(super) fn new(channel: Arc<Channel>) -> Self {
        Self {
            channel,
            confirms: FuturesUnordered::new(),
            aloft: BTreeMap::new(),
            bytes: 0,
            next: 0,
            grounded: false,
            returned: HashMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.confirms.is_empty()
    }

    /// True when the channel takes no more, and nobody is left to tell why.
    pub(super) fn is_over(&self) -> bool {
        self.grounded && self.confirms.is_empty()
    }

    pub(super) fn has_room_for(&self, pending: &Pending) -> bool {
        if self.grounded {
            return false;
        }
        let after_a_suspect = self.aloft.values().next_back().is_some_and(|p| p.suspect);
        self.is_empty()
            || (!pending.suspect
                && !after_a_suspect
                && self.confirms.len() < WINDOW
                && self.bytes + pending.publication.payload.len() <= WINDOW_BYTES)
    }

    /// Messages reach the wire in the order of these calls: each is first polled, and so
    /// numbered and queued by lapin, in the order in which it was pushed.
    pub(super) fn send(&mut self, mut pending: Pending) {
        pending.taken = tokio::time::Instant::now();
        let number = self.next;
        self.next += 1;
        let channel = self.channel.clone();
        let publication = &pending.publication;
        let properties = properties(publication, SystemTime::now());
        let payload = publication.payload.clone();
        let key = routing_key(publication);
        let options = BasicPublishOptions {
            mandatory: true,
            immediate: false,
        };
        self.bytes += payload.len();
        self.confirms.push(Box::pin(async move {
            let sent = channel
                .basic_publish(JOBS.into(), key.into(), options, &payload, properties)
                .await;
            let answer = match sent {
                Ok(confirm) => match confirm.await {
                    Ok(confirmation) => Answer::from(confirmation),
                    Err(error) => Answer::Lost(Box::new(error)),
                },
                // What ended the channel is told by a message that was on it.
                Err(error) if matches!(error.kind(), ErrorKind::InvalidChannelState(..)) => {
                    Answer::Unsent
                }
                Err(error) => Answer::Lost(Box::new(error)),
            };
            (number, answer)
        }));
        self.aloft.insert(number, pending);
    }

    /// Waits for answers of the broker and takes all that are there.
    ///
    /// lapin hands a returned message out with whichever confirm it processes next, which may
    /// be another message's. So returns are matched by message id, over everything that has
    /// been answered: a message's return always comes out with its own confirm or with an
    /// earlier one, unless its own confirm carries another's. A confirm that carries another's
    /// return therefore leaves its own message in doubt, and that counts as returned: sending
    /// it again is harmless.
    pub(super) async fn land(&mut self) -> Vec<Landing> {
        let confirms = &mut self.confirms;
        let landed = std::future::poll_fn(|context| {
            let mut landed: Vec<Landed> = Vec::new();
            // To the end: a confirm that lapin resolved earlier may be later in the stream.
            while let Poll::Ready(Some(next)) = confirms.poll_next_unpin(context) {
                landed.push(next);
            }
            if landed.is_empty() {
                Poll::Pending
            } else {
                Poll::Ready(landed)
            }
        })
        .await;
        for (_, answer) in &landed {
            if let Answer::Returned { whose, .. } = answer {
                *self.returned.entry((**whose).clone()).or_default() += 1;
            }
        }
        let landings = landed
            .into_iter()
            .filter_map(|(number, answer)| self.landing(number, &answer))
            .collect();
        if self.confirms.is_empty() {
            self.returned.clear();
        }
        landings
    }

    fn landing(&mut self, number: u64, answer: &Answer) -> Option<Landing> {
        match answer {
            Answer::Unsent => {
                self.grounded = true;
                return self.remove(number).map(Landing::Unsent);
            }
            Answer::Lost(error) => return Some(Landing::Lost(Lost::from(&**error))),
            _ => {}
        }
        // `None`: nobody waits for it any more.
        let pending = self.remove(number)?;
        let returned = self.take_returned(&pending.publication);
        Some(match answer {
            Answer::Nacked | Answer::Returned { nacked: true, .. } => Landing::Refused(pending),
            Answer::Acked if !returned => Landing::Confirmed(pending),
            Answer::Acked | Answer::Returned { .. } => Landing::Returned(pending),
            Answer::Unasked | Answer::Unsent | Answer::Lost(_) => {
                Landing::Lost(Lost::Connection("the channel does not confirm".to_owned()))
            }
        })
    }

    fn take_returned(&mut self, publication: &Publication) -> bool {
        if self.returned.is_empty() {
            return false;
        }
        let identity = (publication.id.to_string(), routing_key(publication));
        match self.returned.get_mut(&identity) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => {
                self.returned.remove(&identity);
            }
            None => return false,
        }
        true
    }

    fn remove(&mut self, number: u64) -> Option<Pending> {
        let pending = self.aloft.remove(&number)?;
        self.bytes -= pending.publication.payload.len();
        Some(pending)
    }

    /// Everything that somebody waits for, in the order of sending. The channel is done with.
    pub(super) fn take_all(&mut self) -> Vec<Pending> {
        self.confirms.clear();
        self.returned.clear();
        self.bytes = 0;
        std::mem::take(&mut self.aloft).into_values().collect()
    }

    pub(super) fn take_expired(&mut self) -> Vec<Pending> {
        let expired: Vec<u64> = self
            .aloft
            .iter()
            .filter(|(_, pending)| pending.expired())
            .map(|(number, _)| *number)
            .collect();
        expired
            .into_iter()
            .filter_map(|number| self.remove(number))
            .collect()
    }
}

fn routing_key(publication: &Publication) -> String {
    let lane = Lane::from(publication.priority);
    Source::new(publication.queue.clone(), lane).routing_key()
}

fn identity(message: &BasicReturnMessage) -> Identity {
    let id = message.properties.message_id();
    (
        id.as_ref().map(ToString::to_string).unwrap_or_default(),
        message.routing_key.to_string(),
    )
}
