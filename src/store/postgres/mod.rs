//! The PostgreSQL store.
//!
//! **Invariants.** Every method is one transaction in READ COMMITTED (only pruning and the
//! upkeep of partitions take several, each complete in itself). Rows are locked in id order, or
//! with `SKIP LOCKED`, which never waits. Time is the database's `now()`, the start of the
//! transaction. No session state outlives a transaction: settings and advisory locks are
//! transaction-scoped, so a pooler in transaction mode may stand in front (PgBouncer from 1.21,
//! which knows prepared statements).

mod audit;
mod causes;
mod claim;
mod condition;
mod control;
mod day;
mod door;
mod drop_day;
mod effect;
mod error;
mod extension;
mod filter;
mod insert;
mod keyring;
mod keys;
mod lanes;
mod letters;
mod limit;
mod observe;
mod one;
mod operating;
mod operations;
mod outbox;
mod processes;
mod progress;
mod prune;
mod purge;
mod read;
mod record;
mod requeue;
mod restore;
mod rows;
mod schema;
mod steps;
mod transaction;
mod verify;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::sync::{Semaphore, SemaphorePermit};

use self::insert::Ids;
use self::transaction::{BEAT, COLD, HOT, LIST, MIGRATION, WIDE, transact};
use super::{
    Beat, Claim, ClaimRequest, Counts, DeadLetter, Insertion, JobFilter, NewProcess, OutboxEntry,
    OutboxId, Page, ProcessBeat, ProcessRow, Record, Retention, ReusedKeys, Schema, Store,
    StoreError, StoreResult, Tally,
};
use crate::job::{JobId, JobView, NewJob, ProcessId, Publication, QueueName};

/// Connections for acceptance, dispatch, claims and outcomes.
const CONNECTIONS: u32 = 6;
/// Connections for slow questions.
const READS: u32 = 3;
/// Connections for handlers' transactions; opened as handlers ask for them.
const EFFECTS: u32 = 8;
/// How long a handler waits for one of them, behind the transactions of other handlers.
const QUEUE: Duration = Duration::from_secs(8);
/// Of those, how many may be reading everything: such a read takes up to a minute, and leaves
/// room for those that are over soon.
const WIDE_READS: usize = 2;
/// How long to wait for a connection: an outage is told within this time. Enough for a TLS
/// handshake with a server on another continent.
const ACQUIRE: Duration = Duration::from_secs(2);

/// How long the connections may take to close.
const CLOSE: Duration = Duration::from_secs(10);

/// Jobs in a PostgreSQL database, version 15 or newer, in its schema `longshore`.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: PgPool,
    /// Connections of their own for what reads or moves by filters, so that slow questions
    /// delay neither acceptance nor claims nor outcomes.
    reads: PgPool,
    /// Those of them that may read everything.
    wide: Arc<Semaphore>,
    /// One connection of their own, so that no amount of work delays a beat.
    beats: PgPool,
    /// Handlers' transactions, so that no handler delays anything but other handlers.
    effects: PgPool,
}

impl PostgresStore {
    /// A store for the database at `url`. Connects only when it is first asked for something,
    /// so the database may be down.
    ///
    /// # Errors
    /// [`StoreError::Url`] when `url` is not a `postgres://` URL. The error never holds the
    /// URL, which may hold a password.
    pub async fn connect(url: &str) -> StoreResult<Self> {
        let refused = |why: &str| StoreError::Url(format!("not a PostgreSQL URL: {why}"));
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(refused("it must begin with `postgres://`"));
        }
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| refused(&why(&error)))?
            .application_name("longshore")
            // Poolers refuse start-up parameters that they do not know.
            .extra_float_digits(None)
            .disable_statement_logging();
        let pool = |size, patience| {
            PgPoolOptions::new()
                .max_connections(size)
                .acquire_timeout(patience)
                // `BEGIN` is the test, see `Tx::begin`.
                .test_before_acquire(false)
                .connect_lazy_with(options.clone())
        };
        Ok(Self {
            pool: pool(CONNECTIONS, ACQUIRE),
            reads: pool(READS, ACQUIRE),
            wide: Arc::new(Semaphore::new(WIDE_READS)),
            beats: pool(1, ACQUIRE),
            effects: pool(EFFECTS, QUEUE),
        })
    }
}

impl PostgresStore {
    /// A place to read everything in; waits for it as long as for a connection.
    async fn wide(&self) -> StoreResult<SemaphorePermit<'_>> {
        match tokio::time::timeout(ACQUIRE, self.wide.acquire()).await {
            Ok(place) => place.map_err(|_| StoreError::Stopping),
            Err(_) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
        }
    }

    /// Inserts jobs as if none were there yet, and if one is, looks for each: a batch is given
    /// again after its answer was lost, and a message may be adopted twice at once.
    async fn with_ids<T, F>(&self, insert: impl Fn(Ids) -> F) -> StoreResult<T>
    where
        F: Future<Output = StoreResult<T>>,
    {
        match insert(Ids::Fresh).await {
            Err(StoreError::Data(sqlx::Error::Database(error))) if error.is_unique_violation() => {
                insert(Ids::PerhapsTaken).await
            }
            answer => answer,
        }
    }

    /// Why no connection was to be had.
    async fn unreachable(&self) -> StoreError {
        let options = self.reads.connect_options();
        let knock = options.connect();
        StoreError::Unavailable(match tokio::time::timeout(ACQUIRE, knock).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut,
        })
    }
}

/// The innermost reason, which names the part of the URL but not its value.
fn why(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(source) if source.is::<url::ParseError>() => source.to_string(),
        _ => "one of its parameters has an invalid value".to_owned(),
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn schema(&self) -> StoreResult<Schema> {
        let answer = transact!(self.reads, COLD, |tx| schema::read(&mut tx));
        match answer {
            // The pool tells only that it has waited.
            Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)) => {
                Err(self.unreachable().await)
            }
            answer => answer,
        }
    }

    async fn migrate(&self) -> StoreResult<usize> {
        transact!(self.reads, MIGRATION, |tx| schema::migrate(&mut tx))
    }

    async fn version(&self) -> StoreResult<String> {
        transact!(self.reads, COLD, |tx| schema::version(&mut tx))
    }

    async fn now(&self) -> StoreResult<DateTime<Utc>> {
        transact!(self.reads, COLD, |tx| schema::now(&mut tx))
    }

    async fn ping(&self) -> StoreResult<()> {
        transact!(self.pool, HOT, |tx| schema::ping(&mut tx))
    }

    async fn register(&self, process: &NewProcess) -> StoreResult<ProcessId> {
        transact!(self.pool, HOT, |tx| processes::register(&mut tx, process))
    }

    async fn beat(&self, process: ProcessId) -> StoreResult<Beat> {
        transact!(self.beats, BEAT, |tx| processes::beat(&mut tx, process))
    }

    async fn beats(&self) -> StoreResult<Vec<ProcessBeat>> {
        transact!(self.beats, BEAT, |tx| processes::beats(&mut tx))
    }

    async fn processes(&self) -> StoreResult<Vec<ProcessRow>> {
        transact!(self.reads, COLD, |tx| processes::alive(&mut tx))
    }

    async fn bury(&self, process: ProcessId, counter: i64) -> StoreResult<Option<u64>> {
        transact!(self.pool, HOT, |tx| processes::bury(
            &mut tx, process, counter
        ))
    }

    async fn retire(&self, process: ProcessId) -> StoreResult<u64> {
        transact!(self.pool, HOT, |tx| processes::retire(&mut tx, process))
    }

    async fn insert(
        &self,
        process: ProcessId,
        jobs: &[NewJob],
        lease: Duration,
    ) -> StoreResult<Insertion> {
        if jobs.is_empty() {
            return Ok(Insertion {
                jobs: Vec::new(),
                outbox: None,
            });
        }
        self.with_ids(|ids| async move {
            transact!(self.pool, HOT, |tx| insert::insert(
                &mut tx, process, jobs, lease, ids
            ))
        })
        .await
    }

    async fn insert_all(
        &self,
        process: ProcessId,
        jobs: &[NewJob],
        lease: Duration,
    ) -> StoreResult<Result<Insertion, ReusedKeys>> {
        self.with_ids(|ids| async move {
            transact!(self.pool, HOT, |tx| insert::insert_all(
                &mut tx, process, jobs, lease, ids
            ))
        })
        .await
    }

    async fn insert_dead(&self, process: ProcessId, letters: &[DeadLetter]) -> StoreResult<()> {
        if letters.is_empty() {
            return Ok(());
        }
        transact!(self.pool, HOT, |tx| insert::insert_dead(
            &mut tx, process, letters
        ))
    }

    async fn restore(&self, process: ProcessId, lost: &Publication) -> StoreResult<bool> {
        transact!(self.pool, HOT, |tx| restore::restore(
            &mut tx, process, lost
        ))
    }

    async fn lease_outbox(&self, limit: u32, lease: Duration) -> StoreResult<Vec<OutboxEntry>> {
        transact!(self.pool, HOT, |tx| outbox::lease(&mut tx, limit, lease))
    }

    async fn settle_outbox(&self, entries: &[OutboxId]) -> StoreResult<()> {
        if entries.is_empty() {
            return Ok(());
        }
        transact!(self.pool, HOT, |tx| outbox::settle(&mut tx, entries))
    }

    async fn outbox_age(&self) -> StoreResult<Option<Duration>> {
        transact!(self.pool, HOT, |tx| outbox::age(&mut tx))
    }

    async fn promote_due(&self, limit: u32, lease: Duration) -> StoreResult<Option<OutboxEntry>> {
        transact!(self.pool, HOT, |tx| requeue::promote_due(
            &mut tx, limit, lease
        ))
    }

    async fn republish(
        &self,
        queue: &QueueName,
        older_than: Duration,
        before: Option<DateTime<Utc>>,
        limit: u32,
        lease: Duration,
    ) -> StoreResult<Option<OutboxEntry>> {
        transact!(self.pool, HOT, |tx| requeue::republish(
            &mut tx, queue, older_than, before, limit, lease
        ))
    }

    async fn publication(&self, id: JobId, dispatch: i32) -> StoreResult<Option<Publication>> {
        transact!(self.pool, HOT, |tx| outbox::publication(
            &mut tx, id, dispatch
        ))
    }

    async fn claim(
        &self,
        process: ProcessId,
        requests: &[ClaimRequest],
    ) -> StoreResult<Vec<Claim>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self.pool, HOT, |tx| claim::claim(
            &mut tx, process, requests
        ))
    }

    async fn record(&self, records: &[Record]) -> StoreResult<Vec<bool>> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self.pool, HOT, |tx| record::record(&mut tx, records))
    }

    async fn owned(&self, process: ProcessId) -> StoreResult<Vec<(JobId, i32)>> {
        transact!(self.pool, HOT, |tx| processes::owned(&mut tx, process))
    }

    async fn job(&self, id: JobId) -> StoreResult<Option<JobView>> {
        transact!(self.reads, COLD, |tx| read::job(&mut tx, id))
    }

    async fn finished(&self, ids: &[JobId]) -> StoreResult<Vec<JobId>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self.pool, HOT, |tx| read::finished(&mut tx, ids))
    }

    async fn list(&self, filter: &JobFilter, page: Page) -> StoreResult<Vec<JobView>> {
        transact!(self.reads, LIST, |tx| read::list(&mut tx, filter, page))
    }

    async fn counts(&self) -> StoreResult<Vec<Counts>> {
        let _place = self.wide().await?;
        transact!(self.reads, WIDE, |tx| read::counts(&mut tx))
    }

    async fn prune(&self, retentions: &[Retention], fallback: &Retention) -> StoreResult<u64> {
        prune::prune(self, retentions, fallback).await
    }

    async fn tally(&self) -> StoreResult<Tally> {
        let _place = self.wide().await?;
        transact!(self.reads, WIDE, |tx| read::tally(&mut tx))
    }

    async fn close(&self) {
        // Connections that went silent are left to the operating system.
        let closed = async {
            tokio::join!(
                self.pool.close(),
                self.reads.close(),
                self.beats.close(),
                self.effects.close()
            )
        };
        drop(tokio::time::timeout(CLOSE, closed).await);
    }
}
