//! The only truth: every job, its failed attempts and its outcome.
//!
//! [`Store`] is what the platform asks of a database; [`postgres`] and [`sqlite`] answer, and
//! `tests/conformance/store` holds both to the same answers. [`GroupCommit`] turns single
//! requests into the batches that the trait takes.

mod audit;
mod causes;
mod condition;
mod control;
mod dead_letter;
mod door;
mod effect;
mod error;
mod extension;
mod filter;
mod group_commit;
mod keyring;
mod letters;
mod operation;
mod operations;
pub mod postgres;
mod process;
mod progress;
pub mod sqlite;
mod verify;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use audit::{Audit, AuditEntry, AuditFilter, Deed};
pub use condition::{Condition, Inspect, Room};
pub use control::{Control, Depth, HandedBack, Pause, Place, Report, Reported, RunningJob};
pub use dead_letter::DeadLetter;
pub use door::{Door, admits};
pub use effect::{Connection, DatabaseError, Effect, Effects, Fence};
pub use error::{StoreError, StoreResult};
pub use extension::{Balance, Extensions, Migration, Sums};
pub use filter::{Counts, ErrorPattern, JobFilter, Page, Retention, Tally};
pub use group_commit::GroupCommit;
pub use keyring::{ApiKey, KeyDigest, KeyId, Keyring, NewKey, Scopes};
pub use letters::{Letters, NewLetter};
pub use operation::{
    Action, Advance, NewOperation, Operation, OperationCommand, OperationId, OperationState, StepBy,
};
pub use operations::{Begun, DeadGroup, Edit, Operated, Operations};
pub use process::{Beat, NewProcess, ProcessBeat, ProcessRow, Role};
pub use progress::{ProgressNote, ProgressNotes};
pub use verify::{Check, Difference, InFlight, KindCounts, OutboxSize, Sheet, Sum, Verify};

use crate::job::{
    Claimed, JobId, JobView, NewJob, ProcessId, Publication, QueueName, Standing, State, Transition,
};

/// How far a database's schema is from this program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// As this program needs it.
    Current,
    /// Migrations are missing; 0 means an empty database.
    Behind {
        /// Migrations it has.
        applied: usize,
        /// Migrations this program has.
        known: usize,
    },
    /// A newer program migrated it.
    Newer {
        /// The newest migration it has.
        version: i64,
    },
}

impl Schema {
    /// What an operator should do about it.
    #[must_use]
    pub fn advice(self) -> String {
        match self {
            Self::Current => "the database is up to date".to_owned(),
            Self::Behind { applied: 0, .. } => {
                "the database is empty: run `longshore migrate`".to_owned()
            }
            Self::Behind { applied, known } => {
                format!("the database has {applied} of {known} migrations: run `longshore migrate`")
            }
            Self::Newer { version } => format!(
                "the database was migrated to version {version} by a newer longshore: run that one"
            ),
        }
    }
}

/// What became of a job that was to be inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// Committed as a new job.
    Accepted {
        /// By the store's clock.
        created_at: DateTime<Utc>,
        /// `Scheduled`, or `Queued` with dispatch 1.
        state: State,
    },
    /// Its unique key is that of an earlier job with the same fingerprint.
    Replayed {
        /// The earlier job.
        id: JobId,
    },
    /// Its unique key was used with another fingerprint; nothing was inserted.
    KeyReused {
        /// The earlier job.
        id: JobId,
    },
}

/// An insert's answer, in the order of its jobs.
#[derive(Debug, Clone)]
pub struct Insertion {
    /// What became of each.
    pub jobs: Vec<Inserted>,
    /// The outbox entry that covers every job that is now `queued`; none if there is none.
    pub outbox: Option<OutboxId>,
}

/// The jobs of a batch whose unique keys were used for something else: their positions, from 0,
/// and the jobs that have the keys.
pub type ReusedKeys = Vec<(usize, JobId)>;

impl Inserted {
    /// The job that has the key, if this one was refused for it.
    fn reused_key(&self) -> Option<JobId> {
        match self {
            Self::KeyReused { id } => Some(*id),
            _ => None,
        }
    }
}

/// An outbox row: dispatches that are committed but perhaps not on the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutboxId(pub i64);

/// Dispatches to publish, leased to whoever got them.
#[derive(Debug, Clone)]
pub struct OutboxEntry {
    /// To be settled once the broker has confirmed all of them.
    pub id: OutboxId,
    /// Those that are still `queued` at the dispatch the entry was made for.
    pub publications: Vec<Publication>,
}

/// A worker's wish to run a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimRequest {
    /// The job.
    pub id: JobId,
    /// The dispatch that its message carried.
    pub dispatch: i32,
    /// Also win over a run of this same process at exactly this epoch: a claim whose reply
    /// was lost.
    pub over_epoch: Option<i32>,
}

/// The answer to a [`ClaimRequest`].
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// The job is `running` and ours.
    Won(Claimed),
    /// The job is, or was, not to be had; `None` if there is no such job.
    Lost(Option<Standing>),
}

/// The end of a run, to be written under the fence of its claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The job.
    pub id: JobId,
    /// The owner that claimed it.
    pub owner: ProcessId,
    /// The epoch it was claimed at.
    pub epoch: i32,
    /// What becomes of it.
    pub transition: Transition,
}

/// A database that holds jobs. All times are by the database's clock.
///
/// Every method is one transaction, safe beside any number of other processes doing the same,
/// and all or nothing: after an error the caller may repeat it, except where the method says
/// what a repetition does. Batches lock rows in id order. A batch of nothing does nothing.
///
/// # Errors
/// Every method: [`StoreError::Unavailable`] when the database cannot be reached or did not
/// answer (the transaction may or may not have committed), [`StoreError::Contention`] for a
/// deadlock or serialization failure (nothing was committed; repeat), [`StoreError::Data`] when
/// one of the batch's values is refused (nothing was committed; bisect).
#[async_trait]
pub trait Store:
    Audit
    + Control
    + Effects
    + Extensions
    + Inspect
    + Keyring
    + Letters
    + Operations
    + ProgressNotes
    + Door
    + Verify
    + Send
    + Sync
    + fmt::Debug
    + 'static
{
    /// How far the schema is from this program's.
    async fn schema(&self) -> StoreResult<Schema>;

    /// Brings the schema to this program's version; returns how many migrations ran. Two
    /// migrators at once are safe: one waits for the other.
    async fn migrate(&self) -> StoreResult<usize>;

    /// What database this is, for people: `PostgreSQL 15.18`. Never a URL.
    async fn version(&self) -> StoreResult<String>;

    /// The store's clock.
    async fn now(&self) -> StoreResult<DateTime<Utc>>;

    /// Nothing but an answer, on the connections that acceptance uses: silence means that nobody
    /// gets in.
    async fn ping(&self) -> StoreResult<()>;

    // ---- processes -------------------------------------------------------------------------

    /// Enters a process, alive, with its beat counter at 0.
    async fn register(&self, process: &NewProcess) -> StoreResult<ProcessId>;

    /// Raises a process's beat counter. On a connection kept for it.
    async fn beat(&self, process: ProcessId) -> StoreResult<Beat>;

    /// The beat counter of every process that is alive. On a connection kept for it.
    async fn beats(&self) -> StoreResult<Vec<ProcessBeat>>;

    /// The processes that are alive, for people.
    async fn processes(&self) -> StoreResult<Vec<ProcessRow>>;

    /// Declares a process dead and rescues its jobs: in one transaction, locks its row; if its
    /// counter is not `counter` any more, or it is not alive, does nothing and returns `None`.
    /// Else marks it dead, puts every job it was running back to `queued` under the same
    /// dispatch with `crashes` raised, and enters them in an outbox row at high priority, due at
    /// once. Its tally is kept. Returns how many jobs were rescued.
    async fn bury(&self, process: ProcessId, counter: i64) -> StoreResult<Option<u64>>;

    /// A process ends by itself: as [`Store::bury`], but whatever it still ran is handed back
    /// with nothing counted.
    async fn retire(&self, process: ProcessId) -> StoreResult<u64>;

    // ---- acceptance ------------------------------------------------------------------------

    /// Inserts jobs, with one outbox row for those that are `queued`, leased to the caller for
    /// `lease`; adds the accepted ones to the process's tally. Two jobs of one batch may carry
    /// the same unique key; the first wins. After `Unavailable` a repetition may insert a job
    /// twice unless it has a unique key or the same id; the same id again is a replay.
    async fn insert(
        &self,
        process: ProcessId,
        jobs: &[NewJob],
        lease: Duration,
    ) -> StoreResult<Insertion>;

    /// As [`Store::insert`], but all of them or none: where a unique key belongs to another
    /// fingerprint, be it of an earlier job or of one before it in this batch, nothing is
    /// inserted and no key is taken, and the positions of those jobs are returned.
    async fn insert_all(
        &self,
        process: ProcessId,
        jobs: &[NewJob],
        lease: Duration,
    ) -> StoreResult<Result<Insertion, ReusedKeys>>;

    /// Inserts jobs that are dead from the start (junk, orphans), counted as accepted. An id or
    /// a unique key that the store has already is left alone.
    async fn insert_dead(&self, process: ProcessId, letters: &[DeadLetter]) -> StoreResult<()>;

    /// Inserts a dispatch that the store has forgotten (a failover or restore lost the commit),
    /// with its id and dispatch, as `queued`; or, where the row is there with an older
    /// dispatch, raises a `scheduled`, `queued` or `retrying` row to it. Returns false when the row stands
    /// otherwise (nothing to restore). `accepted` is raised only by an insert. The caller holds
    /// the message and will claim it.
    async fn restore(&self, process: ProcessId, lost: &Publication) -> StoreResult<bool>;

    // ---- dispatch --------------------------------------------------------------------------

    /// Leases up to `limit` outbox entries whose lease is over, oldest first, for `lease`;
    /// entries with no publication left in them are deleted instead.
    async fn lease_outbox(&self, limit: u32, lease: Duration) -> StoreResult<Vec<OutboxEntry>>;

    /// Deletes outbox entries: the broker has confirmed all their publications.
    async fn settle_outbox(&self, entries: &[OutboxId]) -> StoreResult<()>;

    /// The age of the oldest outbox entry that nobody has leased, if there is one. Entries that
    /// cannot be published are leased most of the time and do not count: they must not pass
    /// for a backlog.
    async fn outbox_age(&self) -> StoreResult<Option<Duration>>;

    /// Moves up to `limit` `scheduled` and `retrying` jobs that are due to `queued`, dispatch
    /// raised, and returns them as a leased outbox entry.
    async fn promote_due(&self, limit: u32, lease: Duration) -> StoreResult<Option<OutboxEntry>>;

    /// Enters up to `limit` jobs of `queue` that have been `queued` for longer than
    /// `older_than`, and since before `before` if given, in the outbox again under the same
    /// dispatch, with `queued_at` set to now, and returns them as a leased entry. Both lanes.
    async fn republish(
        &self,
        queue: &QueueName,
        older_than: Duration,
        before: Option<DateTime<Utc>>,
        limit: u32,
        lease: Duration,
    ) -> StoreResult<Option<OutboxEntry>>;

    /// The publication of this job if it is `queued` at exactly this dispatch.
    async fn publication(&self, id: JobId, dispatch: i32) -> StoreResult<Option<Publication>>;

    // ---- running ---------------------------------------------------------------------------

    /// Claims dispatches for a process: a row that is `queued` at that dispatch becomes
    /// `running`, owner and `started_at` set, epoch raised. A process that is not alive wins
    /// nothing; the check locks its row against [`Store::bury`], so that no claim slips in behind
    /// a burial. Answers in the order of the requests; the second of two equal requests loses.
    async fn claim(&self, process: ProcessId, requests: &[ClaimRequest])
    -> StoreResult<Vec<Claim>>;

    /// Writes ends of runs; `false` where owner, epoch and `state = running` do not all match:
    /// that claim was lost and the result is refused. Jobs handed back enter the outbox at high
    /// priority, due at once. Answers in the order of the records.
    async fn record(&self, records: &[Record]) -> StoreResult<Vec<bool>>;

    /// What the store says this process is running, with epochs.
    async fn owned(&self, process: ProcessId) -> StoreResult<Vec<(JobId, i32)>>;

    // ---- reading ---------------------------------------------------------------------------

    /// A job with its attempts.
    async fn job(&self, id: JobId) -> StoreResult<Option<JobView>>;

    /// Those of `ids` that have come to an end (or do not exist).
    async fn finished(&self, ids: &[JobId]) -> StoreResult<Vec<JobId>>;

    /// Jobs, newest first, without their attempts.
    async fn list(&self, filter: &JobFilter, page: Page) -> StoreResult<Vec<JobView>>;

    /// How many jobs each queue holds in each state.
    async fn counts(&self) -> StoreResult<Vec<Counts>>;

    // ---- upkeep ----------------------------------------------------------------------------

    /// Creates what must exist ahead (partitions), and removes finished jobs past their
    /// queue's retention; queues that are not named keep `fallback`. Counts them as pruned.
    /// Returns how many went.
    async fn prune(&self, retentions: &[Retention], fallback: &Retention) -> StoreResult<u64>;

    /// Accepted, live, finished and pruned, counted in one snapshot.
    async fn tally(&self) -> StoreResult<Tally>;

    /// Closes every connection.
    async fn close(&self);
}
