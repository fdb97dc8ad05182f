//! The door for apps that share the database.

use async_trait::async_trait;

use super::{Store, StoreResult};
use crate::config::Queues;
use crate::job::{Junk, Kind, QueueName};

/// Submission from inside an app's own transaction.
///
/// On PostgreSQL it is the function `longshore.submit`, which the migrations make; here is what
/// processes do for it. On SQLite, which has no functions, there is no such door.
///
/// # Errors
/// Those of [`Store`](super::Store)'s methods.
#[async_trait]
pub trait Door {
    /// Makes kinds known to whoever submits from inside, with the queues where their jobs wait.
    /// A kind that was announced before moves to the queue given here; none is forgotten,
    /// because an older program may still submit it.
    async fn announce_kinds(&self, kinds: &[(Kind, QueueName)]) -> StoreResult<()>;

    /// The queue of a kind that some process has announced, perhaps of another version. None is
    /// known on SQLite, where there is only one process.
    async fn announced_queue(&self, kind: &Kind) -> StoreResult<Option<QueueName>>;
}

/// Whether a job of this kind that an app published to `queue` by itself may be adopted there, or
/// why not. A kind that this program does not know may be one of a newer version, which has
/// announced it.
///
/// # Errors
/// Those of [`Door::announced_queue`].
pub async fn admits(
    store: &dyn Store,
    queues: &Queues,
    kind: &Kind,
    queue: &QueueName,
) -> StoreResult<Result<(), Junk>> {
    let own = queues.of_kind(kind);
    if own == Some(queue) {
        return Ok(Ok(()));
    }
    let announced = store.announced_queue(kind).await?;
    Ok(match announced.as_ref().or(own) {
        Some(other) if other == queue => Ok(()),
        Some(other) => Err(misrouted(kind, other)),
        None => Err(unknown_kind(kind)),
    })
}

fn misrouted(kind: &Kind, queue: &QueueName) -> Junk {
    Junk {
        code: "wrong_queue",
        reason: format!(
            "the kind `{kind}` waits in the queue `{queue}`: publish it with that routing key"
        ),
    }
}

fn unknown_kind(kind: &Kind) -> Junk {
    Junk {
        code: "unknown_kind",
        reason: format!(
            "the AMQP property `type` names the kind `{kind}`, which no process has announced"
        ),
    }
}
