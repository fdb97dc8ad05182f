//! The store in one SQLite file, for embedded use: [`SqliteStore`].
//!
//! **Invariant:** SQLite lets one transaction write at a time, and every writing method here
//! takes that lock before it reads (`BEGIN IMMEDIATE`). What it then reads cannot change until
//! it commits, so methods may read, decide in Rust and write. This holds between processes that
//! have the same file open; nothing depends on a lock in memory.

mod audit;
mod causes;
mod claim;
mod clock;
mod condition;
mod control;
mod door;
mod effect;
mod error;
mod extension;
mod insert;
mod keyring;
mod keys;
mod letters;
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
#[cfg(test)]
mod tests;
mod verify;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, Transaction};

pub(crate) use self::clock::Clock;
use self::error::classify;
use super::{
    Beat, Claim, ClaimRequest, Counts, DeadLetter, Insertion, JobFilter, NewProcess, OutboxEntry,
    OutboxId, Page, ProcessBeat, ProcessRow, Record, Retention, ReusedKeys, Schema, Store,
    StoreError, StoreResult, Tally,
};
use crate::job::{JobId, JobView, NewJob, ProcessId, Publication, QueueName};

/// How long a transaction waits for another process's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often opening is tried while another process opens the same new file.
const OPEN_TRIES: u32 = 50;
/// Connections for reading; each is a thread of its own.
const READERS: u32 = 4;

/// A store in one file. Clones share its connections.
///
/// The file may be open in several processes of one machine at once. It must not be on a
/// network file system (SQLite documentation, "Write-Ahead Logging", section 1).
#[derive(Debug, Clone)]
pub struct SqliteStore {
    /// One connection. Beats go through it too: its queue is fair, where a second writing
    /// connection would poll for SQLite's lock and lose to a busy first one.
    writer: SqlitePool,
    readers: SqlitePool,
    clock: Clock,
}

impl SqliteStore {
    /// Opens the file, and creates it and its folder where they are missing, readable by this
    /// user alone. Does not migrate.
    ///
    /// # Errors
    /// [`StoreError::File`] when the file cannot be created or opened,
    /// [`StoreError::Schema`] when it is not an SQLite database.
    pub async fn open(path: &Path) -> StoreResult<Self> {
        Self::open_on(path, Clock::default()).await
    }

    /// Opens it with another clock than the machine's.
    pub(crate) async fn open_on(path: &Path, clock: Clock) -> StoreResult<Self> {
        create(path).await.map_err(|source| StoreError::File {
            path: path.to_owned(),
            source,
        })?;
        let mut tries = 0;
        loop {
            match Self::connect(path, &clock).await.map_err(classify) {
                // Turning a new file to WAL needs a lock that SQLite does not wait for.
                Err(StoreError::Contention(_)) if tries < OPEN_TRIES => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                answer => return answer,
            }
        }
    }

    async fn connect(path: &Path, clock: &Clock) -> sqlx::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        let pool = || {
            SqlitePoolOptions::new()
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
                .before_acquire(|connection, _| Box::pin(is_at_rest(connection)))
        };
        let writing = options.clone().journal_mode(SqliteJournalMode::Wal);
        Ok(Self {
            writer: pool().max_connections(1).connect_with(writing).await?,
            readers: pool()
                .max_connections(READERS)
                .connect_with(options.pragma("query_only", "ON"))
                .await?,
            clock: clock.clone(),
        })
    }

    /// Begins a transaction that holds SQLite's write lock, and reads the clock under it, so
    /// that later transactions have later times.
    async fn write(&self) -> sqlx::Result<(Transaction<'static, Sqlite>, i64)> {
        let tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok((tx, self.clock.micros()))
    }

    /// Begins a transaction that reads one snapshot.
    async fn read(&self) -> sqlx::Result<Transaction<'static, Sqlite>> {
        self.readers.begin().await
    }
}

/// False for a connection that must not be used again. SQLite itself rolls back a transaction
/// that finds no room (its documentation, "Response To Errors Within A Transaction"); the
/// driver's ROLLBACK then fails, and it believes for ever that a transaction is open.
async fn is_at_rest(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    if connection.is_in_transaction() {
        // The rollback of a transaction that was dropped may be under way.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

async fn create(path: &Path) -> std::io::Result<()> {
    let mut folder = tokio::fs::DirBuilder::new();
    let mut file = tokio::fs::OpenOptions::new();
    #[cfg(unix)]
    {
        folder.mode(0o700);
        file.mode(0o600);
    }
    if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) {
        folder.recursive(true).create(parent).await?;
    }
    file.append(true).create(true).open(path).await.map(|_| ())
}

#[async_trait]
impl Store for SqliteStore {
    async fn schema(&self) -> StoreResult<Schema> {
        schema::schema(self).await
    }

    async fn migrate(&self) -> StoreResult<usize> {
        schema::migrate(self).await
    }

    async fn version(&self) -> StoreResult<String> {
        schema::version(self).await.map_err(classify)
    }

    async fn now(&self) -> StoreResult<DateTime<Utc>> {
        clock::moment(self.clock.micros()).map_err(classify)
    }

    async fn ping(&self) -> StoreResult<()> {
        // A file answers as soon as it is asked; a busy writer is not a silent one.
        Ok(())
    }

    async fn register(&self, process: &NewProcess) -> StoreResult<ProcessId> {
        processes::register(self, process).await.map_err(classify)
    }

    async fn beat(&self, process: ProcessId) -> StoreResult<Beat> {
        processes::beat(self, process).await.map_err(classify)
    }

    async fn beats(&self) -> StoreResult<Vec<ProcessBeat>> {
        processes::beats(self).await.map_err(classify)
    }

    async fn processes(&self) -> StoreResult<Vec<ProcessRow>> {
        processes::processes(self).await.map_err(classify)
    }

    async fn bury(&self, process: ProcessId, counter: i64) -> StoreResult<Option<u64>> {
        processes::bury(self, process, counter)
            .await
            .map_err(classify)
    }

    async fn retire(&self, process: ProcessId) -> StoreResult<u64> {
        processes::retire(self, process).await.map_err(classify)
    }

    async fn insert(
        &self,
        process: ProcessId,
        jobs: &[NewJob],
        lease: Duration,
    ) -> StoreResult<Insertion> {
        insert::insert(self, process, jobs, lease)
            .await
            .map_err(classify)
    }

    async fn insert_all(
        &self,
        process: ProcessId,
        jobs: &[NewJob],
        lease: Duration,
    ) -> StoreResult<Result<Insertion, ReusedKeys>> {
        insert::insert_all(self, process, jobs, lease)
            .await
            .map_err(classify)
    }

    async fn insert_dead(&self, process: ProcessId, letters: &[DeadLetter]) -> StoreResult<()> {
        insert::insert_dead(self, process, letters)
            .await
            .map_err(classify)
    }

    async fn restore(&self, process: ProcessId, lost: &Publication) -> StoreResult<bool> {
        restore::restore(self, process, lost)
            .await
            .map_err(classify)
    }

    async fn lease_outbox(&self, limit: u32, lease: Duration) -> StoreResult<Vec<OutboxEntry>> {
        outbox::lease(self, limit, lease).await.map_err(classify)
    }

    async fn settle_outbox(&self, entries: &[OutboxId]) -> StoreResult<()> {
        outbox::settle(self, entries).await.map_err(classify)
    }

    async fn outbox_age(&self) -> StoreResult<Option<Duration>> {
        outbox::age(self).await.map_err(classify)
    }

    async fn promote_due(&self, limit: u32, lease: Duration) -> StoreResult<Option<OutboxEntry>> {
        requeue::promote_due(self, limit, lease)
            .await
            .map_err(classify)
    }

    async fn republish(
        &self,
        queue: &QueueName,
        older_than: Duration,
        before: Option<DateTime<Utc>>,
        limit: u32,
        lease: Duration,
    ) -> StoreResult<Option<OutboxEntry>> {
        requeue::republish(self, queue, older_than, before, limit, lease)
            .await
            .map_err(classify)
    }

    async fn publication(&self, id: JobId, dispatch: i32) -> StoreResult<Option<Publication>> {
        outbox::publication(self, id, dispatch)
            .await
            .map_err(classify)
    }

    async fn claim(
        &self,
        process: ProcessId,
        requests: &[ClaimRequest],
    ) -> StoreResult<Vec<Claim>> {
        claim::claim(self, process, requests)
            .await
            .map_err(classify)
    }

    async fn record(&self, records: &[Record]) -> StoreResult<Vec<bool>> {
        record::record(self, records).await.map_err(classify)
    }

    async fn owned(&self, process: ProcessId) -> StoreResult<Vec<(JobId, i32)>> {
        processes::owned(self, process).await.map_err(classify)
    }

    async fn job(&self, id: JobId) -> StoreResult<Option<JobView>> {
        read::job(self, id).await.map_err(classify)
    }

    async fn finished(&self, ids: &[JobId]) -> StoreResult<Vec<JobId>> {
        read::finished(self, ids).await.map_err(classify)
    }

    async fn list(&self, filter: &JobFilter, page: Page) -> StoreResult<Vec<JobView>> {
        read::list(self, filter, page).await.map_err(classify)
    }

    async fn counts(&self) -> StoreResult<Vec<Counts>> {
        read::counts(self).await.map_err(classify)
    }

    async fn prune(&self, retentions: &[Retention], fallback: &Retention) -> StoreResult<u64> {
        prune::prune(self, retentions, fallback)
            .await
            .map_err(classify)
    }

    async fn tally(&self) -> StoreResult<Tally> {
        read::tally(self).await.map_err(classify)
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
