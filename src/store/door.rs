//! The door for apps that share the database.

use async_trait::async_trait;

use super::StoreResult;
use crate::job::{Kind, QueueName};

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
