//! Consuming: a channel for each consumer, and a task that keeps it subscribed.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use lapin::Channel;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::connection::{Backoff, Connections, Link, answer};
use super::message::message;
use super::settling::Unsettled;
use super::topology::{Topology, unavailable};
use super::unreadable::{Care, is_unreadable, reject_first, unseen};
use crate::broker::{BrokerError, ConsumerFeed, Delivery, Lane, Settlement, Source};

/// Consumers are back within 5 s of the broker's return, so no wait is longer than this.
const BACKOFF_CAP: Duration = Duration::from_secs(2);
/// A subscription that held this long was a good one: the next is tried quickly.
const GOOD: Duration = Duration::from_secs(5);
/// How often the channel is looked at while nothing comes.
const LOOK: Duration = Duration::from_millis(500);
/// How long messages are taken one by one in search of an unreadable one.
const CAREFUL: Duration = Duration::from_secs(30);
/// Settlements sent to the broker together.
const SETTLE_AT_ONCE: usize = 1024;

/// Keeps a consumer subscribed until it stops.
pub(super) struct Supervisor {
    pub(super) connections: Arc<Connections>,
    pub(super) topology: Arc<Topology>,
    pub(super) source: Source,
    pub(super) prefetch: u16,
    pub(super) closed: CancellationToken,
}

/// How a subscription ended.
enum End {
    // The consumer wants no more, or this process closes.
    Stopped,
    Lost(String),
    // Nothing unreadable came one by one: somebody else got rid of it.
    Careful,
    // lapin could not read what the broker sent, and gave up the whole connection.
    Unreadable(String),
}

impl From<lapin::Error> for End {
    fn from(error: lapin::Error) -> Self {
        if is_unreadable(&error) {
            Self::Unreadable(error.to_string())
        } else {
            Self::Lost(error.to_string())
        }
    }
}

impl Supervisor {
    pub(super) async fn run(self, feed: ConsumerFeed) {
        let mut backoff = Backoff::new(BACKOFF_CAP);
        let mut care = Care::Shared;
        let mut said = false;
        loop {
            let since = Instant::now();
            let subscribed = tokio::select! {
                biased;
                () = self.closed.cancelled() => return,
                () = feed.stop.cancelled() => return,
                subscribed = self.subscribe(care) => subscribed,
            };
            let end = match subscribed {
                Err(error) => End::Lost(error.to_string()),
                Ok(mut subscription) => {
                    said = false;
                    feed.registered.send_replace(true);
                    let end = subscription.run(&feed, &self.closed).await;
                    feed.registered.send_replace(false);
                    if matches!(end, End::Stopped) {
                        // The consumer has all it will get, whatever it still holds.
                        drop(feed);
                        return subscription.finish(&self.closed).await;
                    }
                    subscription.close().await;
                    end
                }
            };
            let reason = match end {
                End::Stopped => return,
                End::Careful => {
                    care = Care::Alone;
                    continue;
                }
                End::Lost(reason) => reason,
                End::Unreadable(reason) => {
                    if care == Care::OneByOne && self.reject_first(&feed).await {
                        backoff.reset();
                    }
                    care = care.more();
                    reason
                }
            };
            if !std::mem::replace(&mut said, true) {
                tracing::warn!(queue = %self.source, reason, "not consuming; trying again");
            }
            if since.elapsed() >= GOOD {
                backoff.reset();
            }
            tokio::select! {
                () = self.closed.cancelled() => return,
                () = feed.stop.cancelled() => return,
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }

    /// True if it is done with.
    async fn reject_first(&self, feed: &ConsumerFeed) -> bool {
        let rejected = match self.connections.open().await {
            Ok(link) => reject_first(&link, &self.source).await,
            // The next try to subscribe will say so.
            Err(_) => return false,
        };
        match &rejected {
            // Now it is nowhere. A process that dies before this is recorded leaves only its log
            // to tell of it: there is no way to record first and be sure who had it.
            Ok(true) if self.source.lane == Lane::Dead => {
                let told = feed.deliveries.send(unseen());
                let _ = feed.stop.run_until_cancelled(told).await;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(queue = %self.source, %error, "cannot reject an unreadable message");
            }
        }
        rejected.is_ok()
    }

    async fn subscribe(&self, care: Care) -> Result<Subscription, BrokerError> {
        let link = match care {
            Care::Shared => self.connections.consuming().await?,
            Care::Alone | Care::OneByOne => Arc::new(self.connections.open().await?),
        };
        match self.topology.declare_queue(&link, &self.source.queue).await {
            // Jobs that wait in a queue with other arguments are still jobs.
            Err(BrokerError::Different(difference)) => tracing::warn!(difference),
            declared => declared?,
        }
        self.subscribe_on(link, care)
            .await
            .map_err(|error| unavailable(&error))
    }

    async fn subscribe_on(&self, link: Arc<Link>, care: Care) -> lapin::Result<Subscription> {
        let careful_until = (care == Care::OneByOne).then(|| Instant::now() + CAREFUL);
        let prefetch = match careful_until {
            Some(_) => 1,
            None => self.prefetch.max(1),
        };
        let channel = answer(link.create_channel()).await?;
        let per_consumer = BasicQosOptions { global: false };
        answer(channel.basic_qos(prefetch, per_consumer)).await?;
        let tag = consumer_tag();
        let stream = answer(channel.basic_consume(
            self.source.to_string().into(),
            tag.as_str().into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        ))
        .await?;
        let (sender, settlements) = mpsc::unbounded_channel();
        Ok(Subscription {
            channel,
            stream,
            tag,
            sender: Some(sender),
            settlements,
            unsettled: Unsettled::default(),
            in_hand: None,
            careful_until,
            _link: link,
        })
    }
}

/// `longshore-<host>-<process>`: unique on its channel, which has no other consumer.
fn consumer_tag() -> String {
    let host = gethostname::gethostname();
    let host: String = host.to_string_lossy().chars().take(60).collect();
    format!("longshore-{host}-{}", std::process::id())
}

/// A registered consumer on a channel of its own.
struct Subscription {
    channel: Channel,
    stream: lapin::Consumer,
    tag: String,
    // Ours is for new deliveries; it goes once there will be none, and then `settlements` ends
    // with the last delivery.
    sender: Option<mpsc::UnboundedSender<Settlement>>,
    settlements: mpsc::UnboundedReceiver<Settlement>,
    unsettled: Unsettled,
    in_hand: Option<Delivery>,
    careful_until: Option<Instant>,
    // Keeps the connection out of the pool.
    _link: Arc<Link>,
}

impl Subscription {
    /// Hands out deliveries and settles them, until the consumer stops and has been handed
    /// all that had arrived.
    async fn run(&mut self, feed: &ConsumerFeed, closed: &CancellationToken) -> End {
        match self.deliver(feed, closed).await {
            Ok(End::Lost(reason)) => self.cause().map_or(End::Lost(reason), End::from),
            Ok(end) => end,
            Err(error) => End::from(self.cause().unwrap_or(error)),
        }
    }

    /// Why the channel was lost. An acknowledgement may be the first to fail on it, but only
    /// the stream says what happened.
    fn cause(&mut self) -> Option<lapin::Error> {
        while let Some(arrived) = self.stream.next().now_or_never().flatten() {
            if let Err(error) = arrived {
                return Some(error);
            }
        }
        None
    }

    async fn deliver(
        &mut self,
        feed: &ConsumerFeed,
        closed: &CancellationToken,
    ) -> lapin::Result<End> {
        let mut settled = Vec::with_capacity(SETTLE_AT_ONCE);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = false;
        loop {
            if self.unsettled.is_empty() && self.careful_until.is_some_and(|u| u < Instant::now()) {
                return Ok(End::Careful);
            }
            tokio::select! {
                biased;
                () = closed.cancelled() => return Ok(End::Stopped),
                () = feed.stop.cancelled(), if !stopping => {
                    stopping = true;
                    feed.registered.send_replace(false);
                    let tag = self.tag.as_str().into();
                    answer(self.channel.basic_cancel(tag, BasicCancelOptions::default())).await?;
                }
                _ = self.settlements.recv_many(&mut settled, SETTLE_AT_ONCE) => {
                    self.gather(&mut settled).await;
                    answer(self.unsettled.settle(&self.channel, settled.drain(..))).await?;
                }
                room = feed.deliveries.reserve(), if self.in_hand.is_some() => {
                    self.hand_out(room.ok());
                }
                arrived = self.stream.next(), if self.in_hand.is_none() => match arrived {
                    Some(arrived) => self.take(arrived?),
                    None if stopping => return Ok(End::Stopped),
                    None => return Ok(End::Lost("the broker cancelled the consumer".to_owned())),
                },
                _ = look.tick() => if !self.channel.status().connected() {
                    return Ok(End::Lost("the channel was lost".to_owned()));
                },
            }
        }
    }

    /// Adds what tasks that could run at once are about to settle: each frame of acknowledgements
    /// is an entry in the log of the broker's queue, however many messages it is for.
    async fn gather(&mut self, settled: &mut Vec<Settlement>) {
        let mut before = 0;
        while settled.len() > before && settled.len() < SETTLE_AT_ONCE {
            before = settled.len();
            tokio::task::yield_now().await;
            while settled.len() < SETTLE_AT_ONCE
                && let Ok(next) = self.settlements.try_recv()
            {
                settled.push(next);
            }
        }
    }

    fn take(&mut self, arrived: lapin::message::Delivery) {
        let tag = arrived.delivery_tag;
        self.unsettled.add(tag);
        // Always there until `finish`.
        self.in_hand = self.sender.clone().map(|settlements| {
            let message = message(&arrived.properties, arrived.data);
            Delivery::new(message, tag, settlements)
        });
    }

    /// Without `room` the consumer is gone: what it cannot have stays with the broker, which
    /// takes it back in its old order when the channel closes.
    fn hand_out(&mut self, room: Option<mpsc::Permit<'_, Delivery>>) {
        if let (Some(delivery), Some(room)) = (self.in_hand.take(), room) {
            room.send(delivery);
        }
    }

    /// Settles until the last delivery is gone; then the broker takes back what is not settled.
    async fn finish(mut self, closed: &CancellationToken) {
        self.sender = None;
        let mut settled = Vec::with_capacity(SETTLE_AT_ONCE);
        while self.channel.status().connected() {
            tokio::select! {
                biased;
                () = closed.cancelled() => break,
                count = self.settlements.recv_many(&mut settled, SETTLE_AT_ONCE) => {
                    let settling = self.unsettled.settle(&self.channel, settled.drain(..));
                    let told = answer(settling).await;
                    if count == 0 || told.is_err() {
                        break;
                    }
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        self.close().await;
    }

    /// What was settled before the end still counts, where the channel can take it.
    async fn close(mut self) {
        let mut last = Vec::new();
        while let Ok(settlement) = self.settlements.try_recv() {
            last.push(settlement);
        }
        if self.channel.status().connected() {
            let goodbye = async {
                self.unsettled.settle(&self.channel, last).await?;
                self.channel.close(200, "OK".into()).await
            };
            // The channel may be lost by now, and what was settled on it with it.
            let _ = answer(goodbye).await;
        }
    }
}
