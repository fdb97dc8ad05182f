//! A handler's own transaction in the job's database: its effect and the job's success commit
//! together or not at all.
//!
//! **Invariant:** the job's row is locked late, in [`Effect::succeed`], not when the transaction
//! begins. A handler may be slow; a row of `live` that it held all the while would hold up the
//! burial of its process, and with it every batch of claims or outcomes that names the same job.
//! From the lock to the commit nothing else is waited for but the keys and ids of next jobs, in
//! the order in which every insert takes them, so no circle of waiting can close: batches hold
//! rows of jobs but never wait for a handler's tables. Before the lock a rescue simply wins, and
//! the handler's work is rolled back; after it the rescue waits, and finds the job ended.

use std::fmt;

use async_trait::async_trait;
use serde_json::Value;

use super::{StoreError, StoreResult};
use crate::job::{JobId, NewJob, ProcessId};

/// What went wrong, as the database's driver says it.
pub type DatabaseError = sqlx::Error;

/// The claim that every write of a run must match, with `state = running`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The job.
    pub id: JobId,
    /// Who claimed it.
    pub owner: ProcessId,
    /// The epoch it was claimed at.
    pub epoch: i32,
}

/// The database that a handler's transaction is in, to run its own statements on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Connection<'t> {
    /// PostgreSQL.
    Postgres(&'t mut sqlx::PgConnection),
    /// SQLite.
    Sqlite(&'t mut sqlx::SqliteConnection),
}

/// Begins handlers' transactions, on connections of their own where the database has more than
/// one writer, so that no handler starves beats, claims and outcomes.
#[async_trait]
pub trait Effects {
    /// Begins a transaction for a run; `None` if its claim is lost already. That look is a
    /// courtesy, which spares the work: what counts is [`Effect::succeed`].
    async fn begin_effect(&self, fence: Fence) -> StoreResult<Option<Box<dyn Effect>>>;
}

/// A transaction of a handler. Dropped before [`Effect::commit`] it is rolled back.
#[async_trait]
pub trait Effect: Send + Sync + fmt::Debug {
    /// The connection that it is on. The transaction must not be ended through it.
    ///
    /// PostgreSQL is set to find rows by index (`enable_seqscan` off, generic plans), for the
    /// platform's own statements; a handler that reads whole tables may set that otherwise until
    /// it is done. It ends a statement after 9 s, and a transaction in which nothing is asked for
    /// 5 s.
    fn connection(&mut self) -> Connection<'_>;

    /// What an error of the handler's own statements means.
    fn error(&self, error: DatabaseError) -> StoreError;

    /// Locks the job's row and checks the fence; if it holds, accepts the `next` jobs and writes
    /// the job's success, and returns true. From here on the claim cannot be lost, so nothing
    /// but the commit may follow. `next` jobs enter the outbox, due at once, and are counted as
    /// the owner's. False: the claim was lost and nothing was written.
    async fn succeed(&mut self, result: Option<&Value>, next: &[NewJob]) -> StoreResult<bool>;

    /// Locks the job's row and checks the fence, for a commit that leaves the job running. False:
    /// the claim was lost. As after [`Effect::succeed`], nothing but the commit may follow.
    async fn hold(&mut self) -> StoreResult<bool>;

    /// Commits. After [`StoreError::Unavailable`] nobody knows whether it did; a hand-back under
    /// the same fence finds out, because it waits for the row.
    async fn commit(self: Box<Self>) -> StoreResult<()>;

    /// Rolls back and keeps the connection, which dropping may not.
    async fn roll_back(self: Box<Self>);
}
