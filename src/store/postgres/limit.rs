//! What `longshore bench` asks of PostgreSQL beside the platform: how fast it is by itself, how
//! much it writes, and that nothing of the bench is left.

use std::time::{Duration, Instant};

use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Fault;
use super::transaction::{COLD, HOT, transact};
use super::{PostgresStore, prune};
use crate::job::QueueName;
use crate::store::StoreResult;

/// Jobs of one transaction, as in the platform.
const BATCH: usize = 500;
/// Rows removed in one transaction.
const ERASE: i64 = 5_000;

/// The shape of the platform's rows without anything else that it keeps.
const TABLES: &str = "
DROP SCHEMA IF EXISTS longshore_bench CASCADE;
CREATE SCHEMA longshore_bench;
CREATE TABLE longshore_bench.job (
    id uuid PRIMARY KEY, kind text NOT NULL, queue text NOT NULL, payload bytea NOT NULL,
    created_at timestamptz NOT NULL);
CREATE TABLE longshore_bench.live (
    id uuid PRIMARY KEY, kind text NOT NULL, queue text NOT NULL, state smallint NOT NULL,
    epoch integer NOT NULL, owner bigint, started_at timestamptz, created_at timestamptz NOT NULL)
    WITH (fillfactor = 70, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);
CREATE TABLE longshore_bench.done (
    id uuid PRIMARY KEY, kind text NOT NULL, queue text NOT NULL, state smallint NOT NULL,
    epoch integer NOT NULL, owner bigint, started_at timestamptz, finished_at timestamptz NOT NULL)";

const INSERT: &str = "
WITH new AS (
    INSERT INTO longshore_bench.job
    SELECT id, 'bench.noop', 'bench', payload, now() FROM unnest($1::uuid[], $2::bytea[])
        AS given (id, payload)
    RETURNING id, kind, queue)
INSERT INTO longshore_bench.live (id, kind, queue, state, epoch, created_at)
SELECT id, kind, queue, 1, 0, now() FROM new";

const CLAIM: &str = "
UPDATE longshore_bench.live SET state = 2, epoch = epoch + 1, owner = 1, started_at = now()
WHERE id = ANY ($1) AND state = 1";

const FINISH: &str = "
WITH gone AS (
    DELETE FROM longshore_bench.live WHERE id = ANY ($1) AND owner = 1 AND epoch = 1
    RETURNING id, kind, queue, epoch, owner, started_at)
INSERT INTO longshore_bench.done
SELECT id, kind, queue, 4, epoch, owner, started_at, now() FROM gone";

impl PostgresStore {
    /// How long as many jobs take in plain SQL of the platform's shape: inserted, claimed and
    /// finished, each step a transaction of 500 on one connection. Works in a schema of its own,
    /// `longshore_bench`, and removes it.
    ///
    /// # Errors
    /// When the database does not answer, or refuses the schema.
    pub async fn raw_speed(&self, jobs: u64, payload: usize) -> StoreResult<Duration> {
        transact!(self.reads, COLD, |tx| script(&mut tx, TABLES))?;
        let started = Instant::now();
        let mut measured = Ok(());
        let mut left = usize::try_from(jobs).unwrap_or(usize::MAX);
        while left > 0 && measured.is_ok() {
            let count = left.min(BATCH);
            measured = self.raw_batch(count, payload).await;
            left -= count;
        }
        let took = started.elapsed();
        let drop = "DROP SCHEMA longshore_bench CASCADE";
        transact!(self.reads, COLD, |tx| script(&mut tx, drop))?;
        measured.map(|()| took)
    }

    async fn raw_batch(&self, count: usize, payload: usize) -> StoreResult<()> {
        let ids: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
        let payloads = vec![vec![b'x'; payload]; count];
        transact!(self.pool, HOT, |tx| insert(&mut tx, &ids, &payloads))?;
        transact!(self.pool, HOT, |tx| touch(&mut tx, CLAIM, &ids))?;
        transact!(self.pool, HOT, |tx| touch(&mut tx, FINISH, &ids))
    }

    /// Bytes of write-ahead log that the whole server has ever written; `None` where this role
    /// may not ask.
    pub async fn written(&self) -> Option<u64> {
        let lsn: StoreResult<i64> = transact!(self.reads, COLD, |tx| written(&mut tx));
        u64::try_from(lsn.ok()?).ok()
    }

    /// Removes every job of these queues at once, finished or not, counted as pruned, with nothing
    /// left to remember it by: only for queues whose messages are gone, and that nobody works.
    ///
    /// # Errors
    /// When the database does not answer; what was removed by then stays removed and counted.
    pub async fn erase(&self, queues: &[QueueName]) -> StoreResult<u64> {
        let queues: Vec<&str> = queues.iter().map(|queue| queue.as_str()).collect();
        let mut erased = 0;
        for table in [DONE, LIVE] {
            loop {
                let gone = transact!(self.reads, COLD, |tx| erase(&mut tx, table, &queues))?;
                erased += gone;
                if gone == 0 {
                    break;
                }
            }
        }
        Ok(erased)
    }
}

async fn script(tx: &mut PgConnection, statements: &'static str) -> Result<(), Fault> {
    sqlx::raw_sql(statements).execute(tx).await?;
    Ok(())
}

async fn insert(tx: &mut PgConnection, ids: &[Uuid], payloads: &[Vec<u8>]) -> Result<(), Fault> {
    let query = sqlx::query(INSERT).bind(ids).bind(payloads);
    query.execute(tx).await?;
    Ok(())
}

async fn touch(tx: &mut PgConnection, sql: &'static str, ids: &[Uuid]) -> Result<(), Fault> {
    sqlx::query(sql).bind(ids).execute(tx).await?;
    Ok(())
}

async fn written(tx: &mut PgConnection) -> Result<i64, Fault> {
    let lsn = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
    Ok(sqlx::query_scalar(lsn).fetch_one(tx).await?)
}

const DONE: &str = "SELECT id FROM longshore.done WHERE queue = ANY ($1) AND state IN (4, 5, 6)
    LIMIT $2 FOR UPDATE SKIP LOCKED";
const LIVE: &str = "SELECT id FROM longshore.live WHERE queue = ANY ($1)
    LIMIT $2 FOR UPDATE SKIP LOCKED";

async fn erase(tx: &mut PgConnection, table: &'static str, queues: &[&str]) -> Result<u64, Fault> {
    let ids: Vec<Uuid> = sqlx::query_scalar(table)
        .bind(queues)
        .bind(ERASE)
        .fetch_all(&mut *tx)
        .await?;
    if !ids.is_empty() {
        touch(tx, "DELETE FROM longshore.live WHERE id = ANY ($1)", &ids).await?;
        prune::remove(tx, &ids, "created_at").await?;
        prune::count(tx, ids.len() as u64).await?;
    }
    Ok(ids.len() as u64)
}
