use std::collections::HashMap;
use std::time::Duration;

use chrono::TimeDelta;
use sqlx::{AssertSqlSafe, PgConnection, QueryBuilder};
use tracing::debug;
use uuid::Uuid;

use super::day::{self, Day};
use super::error::Fault;
use super::transaction::{COLD, HOT, UPKEEP, WIDE, micros, transact};
use super::{PostgresStore, audit, door, drop_day, lanes, progress, schema};
use crate::store::{Retention, StoreError, StoreResult};

/// Rows removed in one transaction.
const BATCH: i64 = 1000;
/// Days go by dropping their partitions. A queue that keeps its jobs for less than this is
/// pruned row by row instead, the moment they expire: for the others that is only the
/// fallback, for rows that are overdue by [`ROWS_AFTER`].
const DROPPED_FROM: Duration = Duration::from_secs(2 * 24 * 3600);
/// A day's first rows expire a day before its last ones, and the drop follows an hour later.
const ROWS_AFTER: Duration = Duration::from_secs(30 * 3600);
/// How long a pruned job's dispatch is remembered, from its creation.
///
/// A late copy of its message must be told from one whose commit the store has lost. For a job
/// older than this, and for every job of a dropped day, nothing is kept: its id tells its age,
/// which is past the shortest retention, and by that the caller knows not to adopt it.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long it is kept who did what to which jobs.
const OPERATIONS_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long an ended process's name is kept beyond the jobs it ran.
const PROCESS_MARGIN: Duration = Duration::from_secs(2 * 24 * 3600);

/// Who keeps what for how long.
pub(super) struct Keep<'a> {
    named: HashMap<&'a str, &'a Retention>,
    fallback: &'a Retention,
}

impl<'a> Keep<'a> {
    fn new(retentions: &'a [Retention], fallback: &'a Retention) -> Self {
        let named =
            |retention: &'a Retention| Some((retention.queue.as_ref()?.as_str(), retention));
        Self {
            named: retentions.iter().filter_map(named).collect(),
            fallback,
        }
    }

    pub(super) fn of(&self, queue: &str) -> &Retention {
        self.named.get(queue).copied().unwrap_or(self.fallback)
    }

    /// How long the queue that keeps them longest keeps its succeeded jobs.
    pub(super) fn longest(&self) -> Duration {
        let named = self.named.values().map(|retention| retention.finished);
        named.fold(self.fallback.finished, Duration::max)
    }
}

/// Each step is a transaction of its own, or several, and counts what it removes in the same
/// one. What another process holds locked is left for the next time.
pub(super) async fn prune(
    store: &PostgresStore,
    retentions: &[Retention],
    fallback: &Retention,
) -> StoreResult<u64> {
    let keep = Keep::new(retentions, fallback);
    postponable(transact!(store.pool, UPKEEP, |tx| create_ahead(&mut tx)))?;
    let mut pruned = 0;
    for day in transact!(store.pool, WIDE, |tx| drop_day::due(&mut tx, &keep))? {
        pruned += postponable(transact!(store.pool, UPKEEP, |tx| drop_day::drop_day(
            &mut tx, day, &keep
        )))?;
    }
    for queue in transact!(store.pool, HOT, |tx| queues(&mut tx))? {
        let kept = keep.of(&queue);
        for (ends, age) in [
            (Ends::Prompt, kept.finished),
            (Ends::Others(&[4, 6]), kept.finished),
            (Ends::Others(&[5]), kept.dead),
        ] {
            pruned += prune_rows(store, &queue, ends, age).await?;
        }
    }
    transact!(store.pool, WIDE, |tx| forget(&mut tx, keep.longest()))?;
    Ok(pruned)
}

/// What is pruned together, because one index finds it.
#[derive(Clone, Copy)]
enum Ends {
    /// Successes whose ids say when they ended, to within 10 s.
    Prompt,
    /// The other finished jobs in these states.
    Others(&'static [i16]),
}

async fn prune_rows(
    store: &PostgresStore,
    queue: &str,
    ends: Ends,
    age: Duration,
) -> StoreResult<u64> {
    let age = micros(match age < DROPPED_FROM {
        true => age,
        false => age.saturating_add(ROWS_AFTER),
    });
    let mut pruned = 0;
    loop {
        let gone = match ends {
            Ends::Prompt => {
                transact!(store.pool, HOT, |tx| expire_prompt(&mut tx, queue, age))
            }
            Ends::Others(states) => {
                transact!(store.pool, COLD, |tx| expire(&mut tx, queue, states, age))
            }
        }?;
        pruned += gone;
        if gone < BATCH.unsigned_abs() {
            return Ok(pruned);
        }
    }
}

/// A change to tables needs locks that it may not get now, or meets a row that was inserted
/// meanwhile; the next pruning tries again.
fn postponable(answer: StoreResult<u64>) -> StoreResult<u64> {
    match answer {
        Err(error @ (StoreError::Contention(_) | StoreError::Data(_))) => {
            debug!(error = ?error, "partitions have to wait for the next pruning");
            Ok(0)
        }
        answer => answer,
    }
}

/// Only one process at a time changes tables.
pub(super) async fn try_lock(tx: &mut PgConnection) -> Result<bool, Fault> {
    Ok(sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
        .bind(schema::LOCK)
        .fetch_one(tx)
        .await?)
}

/// Prunes nothing.
async fn create_ahead(tx: &mut PgConnection) -> Result<u64, Fault> {
    if try_lock(tx).await? {
        day::create_ahead(tx).await?;
    }
    Ok(0)
}

/// The queues that have finished jobs, found by one look into the index for each.
async fn queues(tx: &mut PgConnection) -> Result<Vec<String>, Fault> {
    Ok(sqlx::query_scalar(lanes::QUEUES).fetch_all(tx).await?)
}

/// Removes a batch of jobs in some states that ended longer ago than `age`, in microseconds. The
/// batch is taken by locking its rows of `done`, so a requeue and a pruning never have the same
/// job.
async fn expire(
    tx: &mut PgConnection,
    queue: &str,
    states: &[i16],
    age: i64,
) -> Result<u64, Fault> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM longshore.done
         WHERE queue = $1 AND state = ANY ($2) AND NOT prompt
           AND finished_at <= now() - $3 * interval '1 microsecond'
         LIMIT $4 FOR UPDATE SKIP LOCKED",
    )
    .bind(queue)
    .bind(states)
    .bind(age)
    .bind(BATCH)
    .fetch_all(&mut *tx)
    .await?;
    take_out(tx, &ids).await
}

/// As [`expire`], of the prompt. What ended before a moment has an id of before it, and of what
/// has such an id only the last 10 s may not have ended by then.
async fn expire_prompt(tx: &mut PgConnection, queue: &str, age: i64) -> Result<u64, Fault> {
    let mut query = QueryBuilder::new("SELECT x.id FROM (");
    lanes::push_kinds_of(&mut query, vec![queue.to_owned()]);
    query.push(
        ") AS lane (queue, kind) CROSS JOIN LATERAL (
             SELECT d.id FROM longshore.done d
             WHERE d.queue = lane.queue AND d.kind = lane.kind AND d.state = 4 AND d.prompt
               AND d.id < longshore.first_id(now() + interval '1 millisecond'
                                             - interval '1 microsecond' * ",
    );
    query.push_bind(age);
    query.push(") AND d.finished_at <= now() - interval '1 microsecond' * ");
    query.push_bind(age);
    // The order is that of the lane alone, see lanes.rs.
    query.push(" ORDER BY d.id NULLS FIRST LIMIT ");
    query.push_bind(BATCH);
    query.push(" FOR UPDATE SKIP LOCKED) x LIMIT ");
    query.push_bind(BATCH);
    let ids: Vec<Uuid> = query.build_query_scalar().fetch_all(&mut *tx).await?;
    take_out(tx, &ids).await
}

/// Removes and counts what is locked.
async fn take_out(tx: &mut PgConnection, ids: &[Uuid]) -> Result<u64, Fault> {
    if ids.is_empty() {
        return Ok(0);
    }
    remember(tx, ids).await?;
    remove(tx, ids, "created_at").await?;
    let gone = ids.len() as u64;
    count(tx, gone).await?;
    Ok(gone)
}

/// Removes jobs from every table. Their unique keys live for another day from `since`.
pub(super) async fn remove(
    tx: &mut PgConnection,
    ids: &[Uuid],
    since: &'static str,
) -> Result<(), Fault> {
    let keys = format!(
        "UPDATE longshore.unique_key SET expires_at = {since} + interval '24 hours'
         WHERE job = ANY ($1)"
    );
    for removal in [
        "DELETE FROM longshore.done WHERE id = ANY ($1)",
        "DELETE FROM longshore.tag t USING longshore.job j
         WHERE j.id = ANY ($1) AND t.tag = ANY (j.tags) AND t.id = j.id",
        "DELETE FROM longshore.job WHERE id = ANY ($1)",
        "DELETE FROM longshore.attempt WHERE id = ANY ($1)",
        &keys,
    ] {
        sqlx::query(AssertSqlSafe(removal.to_owned()))
            .bind(ids)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn remember(tx: &mut PgConnection, ids: &[Uuid]) -> Result<(), Fault> {
    let oldest = Day::of(schema::now(tx).await? - REMEMBERED).first_id();
    sqlx::query(
        "INSERT INTO longshore.tombstone (id, state, dispatch, epoch)
         SELECT id, state, dispatch, epoch FROM longshore.done
         WHERE id = ANY ($1) AND id >= $2
         ON CONFLICT (id) DO UPDATE
         SET state = excluded.state, dispatch = excluded.dispatch, epoch = excluded.epoch",
    )
    .bind(ids)
    .bind(oldest)
    .execute(tx)
    .await?;
    Ok(())
}

/// Counts jobs as pruned. Process 0, for pruning is nobody's in particular.
pub(super) async fn count(tx: &mut PgConnection, gone: u64) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO longshore.tally AS t (process, slot, pruned)
         VALUES (0, pg_backend_pid() % 16, $1)
         ON CONFLICT (process, slot) DO UPDATE SET pruned = t.pruned + excluded.pruned",
    )
    .bind(i64::try_from(gone).unwrap_or(i64::MAX))
    .execute(tx)
    .await?;
    Ok(())
}

/// Removes what outlived its use: tombstones, keys, and processes whose jobs are gone. What a
/// process has counted is added to process 0.
async fn forget(tx: &mut PgConnection, longest: Duration) -> Result<(), Fault> {
    door::fold(tx).await?;
    audit::forget(tx).await?;
    progress::forget(tx).await?;
    let oldest = Day::of(schema::now(tx).await? - REMEMBERED).first_id();
    // A message is adopted while its job's id is younger than the shortest retention.
    let adopted = micros(longest.saturating_add(PROCESS_MARGIN));
    sqlx::query(
        "DELETE FROM longshore.tombstone WHERE id < $1 AND NOT purged OR id < $2 AND purged",
    )
    .bind(oldest)
    .bind(Day::of(schema::now(tx).await? - TimeDelta::microseconds(adopted)).first_id())
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "DELETE FROM longshore.operation WHERE id = ANY (ARRAY (
             SELECT id FROM longshore.operation
             WHERE finished_at < now() - $1 * interval '1 microsecond'
             ORDER BY finished_at LIMIT 100000 FOR UPDATE SKIP LOCKED))",
    )
    .bind(micros(OPERATIONS_KEPT))
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "DELETE FROM longshore.unique_key WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM longshore.unique_key WHERE expires_at <= now()
             LIMIT 100000 FOR UPDATE SKIP LOCKED))",
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "WITH old AS MATERIALIZED (
             SELECT id FROM longshore.process
             WHERE state <> 0 AND ended_at < now() - $1 * interval '1 microsecond'
             ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED),
         forgotten AS (DELETE FROM longshore.process p USING old WHERE p.id = old.id),
         counted AS (
             DELETE FROM longshore.tally t USING old WHERE t.process = old.id
             RETURNING t.accepted, t.pruned)
         INSERT INTO longshore.tally AS t (process, slot, accepted, pruned)
         SELECT 0, pg_backend_pid() % 16, sum(accepted), sum(pruned)
         FROM counted HAVING count(*) > 0
         ON CONFLICT (process, slot) DO UPDATE
         SET accepted = t.accepted + excluded.accepted, pruned = t.pruned + excluded.pruned",
    )
    .bind(micros(longest.saturating_add(PROCESS_MARGIN)))
    .execute(tx)
    .await?;
    Ok(())
}
