use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

use super::NextJob;
use crate::config::Queues;
use crate::job::{Done, Failure, JobResult, NewJob};
use crate::store::{Connection, DatabaseError, Effect, Fence, Store, StoreError};

/// What became of the commit that carries a run's success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Commit {
    /// Nothing was committed: the run's end is still to be recorded.
    None,
    /// It was under way when the handler ended, or its answer was lost: nobody knows.
    Unknown,
    /// The success is recorded.
    Done,
    /// The claim was lost, so there is nothing to record.
    Refused,
}

/// The run's [`Commit`], shared by its handler and the executor. A handler may still fail, panic
/// or be cut off once its success is committed; what it returns then does not count.
#[derive(Debug, Default)]
pub(super) struct CommitCell(AtomicU8);

impl CommitCell {
    pub(super) fn get(&self) -> Commit {
        match self.0.load(Ordering::SeqCst) {
            0 => Commit::None,
            1 => Commit::Unknown,
            2 => Commit::Done,
            _ => Commit::Refused,
        }
    }

    pub(super) fn set(&self, commit: Commit) {
        let code = match commit {
            Commit::None => 0,
            Commit::Unknown => 1,
            Commit::Done => 2,
            Commit::Refused => 3,
        };
        self.0.store(code, Ordering::SeqCst);
    }
}

/// What a run needs to end itself inside a transaction.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) store: Arc<dyn Store>,
    pub(super) queues: Arc<Queues>,
    pub(super) fence: Fence,
    pub(super) commit: Arc<CommitCell>,
}

impl Ending {
    pub(super) async fn begin(&self) -> Result<Transaction, Failure> {
        match self.store.begin_effect(self.fence).await {
            Ok(Some(effect)) => Ok(Transaction {
                effect,
                next: Vec::new(),
                queues: self.queues.clone(),
                commit: self.commit.clone(),
            }),
            Ok(None) => {
                self.commit.set(Commit::Refused);
                Err(lost())
            }
            Err(error) => Err(Failure::from_store(&error)),
        }
    }
}

/// Never recorded: the executor knows that the claim is lost.
fn lost() -> Failure {
    Failure::retry(
        "claim_lost",
        "the job was given to another worker meanwhile",
    )
}

impl Failure {
    /// What a failed call of the database means for the job: an outage, a deadlock or a database
    /// that is not migrated is waited out with nothing counted (`database_unavailable`); a value
    /// that was refused is a counted failure (`database_refused`).
    #[must_use]
    pub fn from_store(error: &StoreError) -> Self {
        if error.is_transient() || matches!(error, StoreError::Schema(_) | StoreError::Stopping) {
            Self::unavailable("database_unavailable", error).inside()
        } else {
            Self::retry("database_refused", error)
        }
    }
}

/// A transaction in the job's own database, for effects that are rows: they commit together with
/// the job's success, or neither does. Made by [`Attempt::transaction`](super::Attempt::transaction).
///
/// The success is fenced: once the job was given to another worker (this process was taken for
/// dead), [`Transaction::succeed`] refuses and everything is rolled back. So is a transaction that
/// is dropped, by an error, a timeout or a panic.
///
/// Hold it briefly, and wait for nothing but the database in it: on PostgreSQL a process has 8
/// connections for all its handlers' transactions, and one that asks for nothing for 5 s is
/// ended; on SQLite the transaction is the only writer, and the whole process waits for it.
///
/// ```no_run
/// use longshore::job::JobResult;
/// use longshore::store::Connection;
/// use longshore::worker::{Attempt, Job, NextJob};
/// # #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// # struct Mail { to: String }
/// # impl Job for Mail {
/// #     const KIND: &'static str = "mail.send";
/// #     type Context = ();
/// #     async fn run(self, _: &(), _: &Attempt) -> JobResult { Ok(longshore::job::Done) }
/// # }
///
/// #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// struct Award { user: i64, points: i64 }
///
/// impl Job for Award {
///     const KIND: &'static str = "points.award";
///     type Context = ();
///     async fn run(self, _: &(), attempt: &Attempt) -> JobResult {
///         let mut tx = attempt.transaction().await?;
///         if let Connection::Postgres(db) = tx.connection() {
///             let award = sqlx::query("UPDATE points SET total = total + $2 WHERE id = $1");
///             let done = award.bind(self.user).bind(self.points).execute(db).await;
///             done.map_err(|error| tx.failure(error))?;
///         }
///         tx.submit(NextJob::new(&Mail { to: format!("user {}", self.user) })?)?;
///         tx.succeed(self.points).await
///     }
/// }
/// ```
pub struct Transaction {
    effect: Box<dyn Effect>,
    next: Vec<NewJob>,
    queues: Arc<Queues>,
    commit: Arc<CommitCell>,
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("effect", &self.effect)
            .finish_non_exhaustive()
    }
}

impl Transaction {
    /// The connection that it is on, for the handler's statements. The transaction must not be
    /// ended through it. See [`Effect::connection`] for how it is set.
    pub fn connection(&mut self) -> Connection<'_> {
        self.effect.connection()
    }

    /// What an error of the handler's own statements means for the store.
    #[must_use]
    pub fn error(&self, error: DatabaseError) -> StoreError {
        self.effect.error(error)
    }

    /// What an error of the handler's own statements means for the job. (`?` alone would count an
    /// outage of the database as a failure of the job.)
    #[must_use]
    pub fn failure(&self, error: DatabaseError) -> Failure {
        Failure::from_store(&self.effect.error(error))
    }

    /// Starts another job when this one succeeds, in the same commit. It is published within a
    /// fraction of a second.
    ///
    /// # Errors
    /// A permanent [`Failure`] with code `invalid_next_job`, when no queue takes its kind.
    pub fn submit(&mut self, next: NextJob) -> Result<(), Failure> {
        // Written at the end: the tally's row would be held from here on, for which every
        // acceptance of this process waits.
        self.next.push(next.into_job(&self.queues)?);
        Ok(())
    }

    /// Commits everything, with the job's success and its result. Return what it returns.
    ///
    /// # Errors
    /// When the claim was lost, or the database failed. If that was in the commit itself, nobody
    /// knows whether it took; the platform finds out, and the job runs again only if it did not,
    /// with nothing counted.
    pub async fn succeed(mut self, result: impl Serialize) -> JobResult {
        let done = Done::with(result)?;
        // `()` is success without a result.
        let value = done.result.as_ref().filter(|value| !value.is_null());
        match self.effect.succeed(value, &self.next).await {
            Ok(true) => {}
            Ok(false) => {
                self.commit.set(Commit::Refused);
                self.effect.roll_back().await;
                return Err(lost());
            }
            Err(error) => return Err(Failure::from_store(&error)),
        }
        // Before the commit is sent: whatever cuts it off, it may have taken.
        self.commit.set(Commit::Unknown);
        match self.effect.commit().await {
            Ok(()) => {
                self.commit.set(Commit::Done);
                Ok(done)
            }
            Err(error) => {
                // The database's own refusal is an answer: it did not take.
                if !error.is_outage() {
                    self.commit.set(Commit::None);
                }
                Err(Failure::from_store(&error))
            }
        }
    }

    /// Commits everything while the job goes on: a step of a protocol with somebody else, which a
    /// later run must know of. It is fenced like the success. Next jobs belong to the success;
    /// those that were submitted to this transaction are not started.
    ///
    /// # Errors
    /// When the claim was lost, or the database failed; then nobody knows whether it took, and
    /// the next run must look.
    pub async fn commit(mut self) -> Result<(), Failure> {
        match self.effect.hold().await {
            Ok(true) => {}
            Ok(false) => {
                self.commit.set(Commit::Refused);
                self.effect.roll_back().await;
                return Err(lost());
            }
            Err(error) => return Err(Failure::from_store(&error)),
        }
        let committed = self.effect.commit().await;
        committed.map_err(|error| Failure::from_store(&error))
    }

    /// Takes everything back and keeps the connection for the next handler. Dropping the
    /// transaction takes everything back, too, but may cost the connection.
    pub async fn roll_back(self) {
        self.effect.roll_back().await;
    }
}
