use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use longshore::job::{JobId, NewJob, ProcessId, QueueName, Transition};
use longshore::store::postgres::PostgresStore;
use longshore::store::{Claim, ClaimRequest, NewProcess, Record, Role, Store};
use serde::Serialize;
use sqlx::PgConnection;

use crate::run;

/// Jobs of one transaction.
const BATCH: u64 = 500;
/// Batches before it is counted, and while.
const WARM: u64 = 10;
const COUNTED: u64 = 40;
/// Transactions at once that put a load on.
const TASKS: u64 = 4;
/// A server process that has nothing to do reports what it did within 10 s.
const REPORTED: Duration = Duration::from_secs(12);

/// What the store does for a job, from acceptance to its end.
#[derive(Debug, Clone, Copy, Default, Serialize, sqlx::FromRow)]
pub(crate) struct Counts {
    /// Bytes of write-ahead log.
    pub(crate) bytes: f64,
    /// Records of it.
    pub(crate) records: f64,
    /// Blocks of tables and indexes that were touched.
    pub(crate) blocks: f64,
}

/// Takes jobs through the store by itself, as one process.
pub(crate) struct Counter {
    store: PostgresStore,
    process: ProcessId,
    queues: u64,
}

impl Counter {
    pub(crate) async fn open(url: &str, queues: u64) -> anyhow::Result<Self> {
        let store = PostgresStore::connect(url).await?;
        let process = NewProcess::this(Role::Worker, Vec::new());
        Ok(Self {
            process: store.register(&process).await?,
            store,
            queues,
        })
    }

    /// So many jobs come and go, a few at a time; how long that took, in seconds.
    pub(crate) async fn load(&self, jobs: u64, batch: u64) -> anyhow::Result<Option<f64>> {
        if jobs == 0 {
            return Ok(None);
        }
        let began = Instant::now();
        let one = || async {
            for _ in 0..jobs.div_ceil(batch.max(1) * TASKS) {
                self.batch(batch.max(1)).await?;
            }
            anyhow::Ok(())
        };
        futures::future::try_join_all((0..TASKS).map(|_| one())).await?;
        Ok(Some(began.elapsed().as_secs_f64()))
    }

    /// Without autovacuum, whose work is not that of these jobs.
    pub(crate) async fn count(&self, connection: &mut PgConnection) -> anyhow::Result<Counts> {
        run(connection, "ALTER SYSTEM SET autovacuum = off").await?;
        run(connection, "SELECT pg_reload_conf()").await?;
        let counted = self.counted(connection).await;
        run(connection, "ALTER SYSTEM RESET autovacuum").await?;
        run(connection, "SELECT pg_reload_conf()").await?;
        counted
    }

    async fn counted(&self, connection: &mut PgConnection) -> anyhow::Result<Counts> {
        self.work(WARM).await?;
        let before = counters(connection).await?;
        self.work(COUNTED).await?;
        let after = counters(connection).await?;
        let jobs = (COUNTED * BATCH) as f64;
        Ok(Counts {
            bytes: (after.bytes - before.bytes) / jobs,
            records: (after.records - before.records) / jobs,
            blocks: (after.blocks - before.blocks) / jobs,
        })
    }

    /// `clean`: removes its jobs, which are none of the row's.
    pub(crate) async fn close(self, clean: bool) -> anyhow::Result<()> {
        self.store.retire(self.process).await?;
        if clean {
            let queues: anyhow::Result<Vec<QueueName>> = (0..self.queues).map(queue).collect();
            self.store.erase(&queues?).await?;
        }
        self.store.close().await;
        Ok(())
    }

    async fn work(&self, batches: u64) -> anyhow::Result<()> {
        for _ in 0..batches {
            self.batch(BATCH).await?;
        }
        Ok(())
    }

    async fn batch(&self, size: u64) -> anyhow::Result<()> {
        let payload = format!("\"{}\"", "x".repeat(198));
        let job = |n: u64| {
            let queue = queue(n % self.queues)?;
            Ok(NewJob::new("growth.count".parse()?, queue, payload.clone()))
        };
        let jobs: anyhow::Result<Vec<NewJob>> = (0..size).map(job).collect();
        let jobs = jobs?;
        let lease = Duration::from_secs(60);
        let inserted = self.store.insert(self.process, &jobs, lease).await?;
        let entry = inserted.outbox.context("queued jobs are in the outbox")?;
        self.store.settle_outbox(&[entry]).await?;
        let requests: Vec<ClaimRequest> = jobs.iter().map(|job| request(job.id)).collect();
        let claims = self.store.claim(self.process, &requests).await?;
        let records: Option<Vec<Record>> = jobs.iter().zip(&claims).map(end).collect();
        let records = records.context("all are won")?;
        let written = self.store.record(&records).await?;
        ensure!(written.iter().all(|written| *written), "all are recorded");
        Ok(())
    }
}

fn queue(number: u64) -> anyhow::Result<QueueName> {
    Ok(format!("growth-{number}").parse()?)
}

/// Of the whole server.
async fn counters(connection: &mut PgConnection) -> anyhow::Result<Counts> {
    tokio::time::sleep(REPORTED).await;
    Ok(sqlx::query_as(
        "SELECT wal_bytes::float8 AS bytes, wal_records::float8 AS records,
                (SELECT sum(heap_blks_hit + heap_blks_read + COALESCE(idx_blks_hit, 0)
                            + COALESCE(idx_blks_read, 0))
                 FROM pg_statio_user_tables WHERE schemaname = 'longshore')::float8 AS blocks
         FROM pg_stat_wal",
    )
    .fetch_one(connection)
    .await?)
}

fn request(id: JobId) -> ClaimRequest {
    ClaimRequest {
        id,
        dispatch: 1,
        over_epoch: None,
    }
}

fn end((job, claim): (&NewJob, &Claim)) -> Option<Record> {
    let Claim::Won(run) = claim else {
        return None;
    };
    Some(Record {
        id: job.id,
        owner: run.owner,
        epoch: run.epoch,
        transition: Transition::Succeed { result: None },
    })
}
