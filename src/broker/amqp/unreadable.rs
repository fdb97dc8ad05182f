//! Getting rid of a message that lapin cannot read.
//!
//! AMQP text need not be UTF-8, and RabbitMQ does not mind; lapin gives up the whole connection
//! over one short string that is not. Such a message would come back for ever and keep its
//! queue from being consumed. So it is found (with a prefetch of one, on a connection of its
//! own) and rejected unseen. From the dead-letter queue, where that takes it, it goes the same
//! way, and somebody is told that it was there.

use std::time::Duration;

use futures::future::join;
use lapin::options::{BasicGetOptions, BasicRejectOptions};
use lapin::{Connection, ErrorKind};

use tokio::sync::mpsc;

use super::connection::answer;
use crate::broker::{Delivery, Lane, Source};
use crate::job::Message;

/// How often the connection is looked at while it is about to fail.
const LOOK: Duration = Duration::from_millis(20);

/// How a consumer subscribes, given the unreadable messages it has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// On the connection that all share.
    Shared,
    /// One of those on the connection met an unreadable message; whoever it was goes down alone.
    Alone,
    /// It was this one. One message at a time, so that the next one to fail is known.
    OneByOne,
}

impl Care {
    /// After another unreadable message.
    pub(super) const fn more(self) -> Self {
        match self {
            Self::Shared => Self::Alone,
            Self::Alone | Self::OneByOne => Self::OneByOne,
        }
    }
}

pub(super) fn is_unreadable(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ParsingError(_))
}

/// Rejects the first message of a queue, which a consumer that takes them one by one could not
/// read. Another consumer may have taken it meanwhile: then a good message becomes a dead
/// letter, and a dead letter that is none is published again. True if it went unseen.
pub(super) async fn reject_first(link: &Connection, source: &Source) -> lapin::Result<bool> {
    let channel = answer(link.create_channel()).await?;
    let get = channel.basic_get(source.to_string().into(), BasicGetOptions::default());
    // The first tag of a channel is 1. The rejection is on its way before the message comes:
    // the broker works on one after the other, and afterwards there is no connection.
    let reject = channel.basic_reject(1, BasicRejectOptions { requeue: false });
    // lapin forgets who waits for a message that it cannot read.
    let gone = async {
        while link.status().connected() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        biased;
        (got, rejected) = join(answer(get), answer(reject)) => {
            if got?.is_some() {
                rejected?;
                tracing::warn!(queue = %source, "rejected a readable message: the unreadable one was gone");
            }
            Ok(false)
        }
        () = gone => {
            report(source);
            Ok(true)
        }
    }
}

/// What stands for a message that was rejected unseen. It is on no channel any more, so that
/// settling it does nothing.
pub(super) fn unseen() -> Delivery {
    let message = Message {
        unreadable: true,
        ..Message::default()
    };
    let (nowhere, _) = mpsc::unbounded_channel();
    Delivery::new(message, 0, nowhere)
}

fn report(source: &Source) {
    if source.lane == Lane::Dead {
        tracing::error!(queue = %source, "a dead letter cannot be read: a text property or header name is not UTF-8; kept without its content");
    } else {
        tracing::error!(queue = %source, "rejected a message that cannot be read: a text property or header name is not UTF-8");
    }
}
