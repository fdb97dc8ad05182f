use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::control::micros;
use super::error::Fault;
use super::rows;
use super::transaction::unsigned;
use crate::job::{JobId, ProcessId, State};
use crate::store::control::breaker_error;
use crate::store::{Counts, Depth, Place, Report, Reported, RunningJob};

/// Outbox entries that are searched for one job; behind a broker that is down there may be
/// many, and the oldest say as much.
const ENTRIES: i64 = 1000;

/// Rows are written in the order of their keys, by their process alone.
pub(super) async fn report(
    tx: &mut PgConnection,
    process: ProcessId,
    reports: &[Report],
) -> Result<(), Fault> {
    let mut first = true;
    for report in reports {
        let kinds: Vec<&str> = report.kinds.iter().map(|kind| kind.as_str()).collect();
        let fresh: bool = sqlx::query_scalar(
            "INSERT INTO longshore.report
                 (process, queue, kinds, capacity, breaker, accepted, finished,
                  breaker_code, breaker_message)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (process, queue) DO UPDATE
             SET kinds = excluded.kinds, capacity = excluded.capacity,
                 breaker = excluded.breaker, accepted = excluded.accepted,
                 finished = excluded.finished, breaker_code = excluded.breaker_code,
                 breaker_message = excluded.breaker_message
             RETURNING xmax = 0",
        )
        .bind(process.0)
        .bind(report.queue.as_str())
        .bind(kinds)
        .bind(i32::try_from(report.capacity).unwrap_or(i32::MAX))
        .bind(&report.breaker)
        .bind(report.accepted)
        .bind(report.finished)
        .bind(report.breaker_error.as_ref().map(|error| &error.code))
        .bind(report.breaker_error.as_ref().map(|error| &error.message))
        .fetch_one(&mut *tx)
        .await?;
        if std::mem::take(&mut first) && fresh {
            forget_the_dead(tx).await?;
        }
    }
    Ok(())
}

/// `SKIP LOCKED`: somebody else is about it.
async fn forget_the_dead(tx: &mut PgConnection) -> Result<(), Fault> {
    sqlx::query(
        "DELETE FROM longshore.report WHERE (process, queue) IN (
             SELECT process, queue FROM longshore.report r
             WHERE NOT EXISTS (SELECT 1 FROM longshore.process p
                               WHERE p.id = r.process AND p.state = 0)
             ORDER BY process, queue FOR UPDATE SKIP LOCKED)",
    )
    .execute(tx)
    .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Row {
    process: i64,
    queue: String,
    kinds: Vec<String>,
    capacity: i32,
    breaker: String,
    accepted: f64,
    finished: f64,
    breaker_code: Option<String>,
    breaker_message: Option<String>,
}

pub(super) async fn reports(tx: &mut PgConnection) -> Result<Vec<Reported>, Fault> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT r.process, r.queue, r.kinds, r.capacity, r.breaker, r.accepted, r.finished,
                r.breaker_code, r.breaker_message
         FROM longshore.report r JOIN longshore.process p ON p.id = r.process AND p.state = 0
         ORDER BY r.process, r.queue",
    )
    .fetch_all(tx)
    .await?;
    let reported = |row: Row| {
        let kinds = row.kinds.iter().map(|kind| kind.parse());
        Ok(Reported {
            process: ProcessId(row.process),
            report: Report {
                queue: row.queue.parse().map_err(Fault::corrupt)?,
                kinds: kinds.collect::<Result<_, _>>().map_err(Fault::corrupt)?,
                capacity: unsigned(row.capacity),
                breaker: row.breaker,
                breaker_error: breaker_error(row.breaker_code, row.breaker_message),
                accepted: row.accepted,
                finished: row.finished,
            },
        })
    };
    rows.into_iter().map(reported).collect()
}

/// Reads what is live and what is dead, each in an index or a small table: never the finished.
pub(super) async fn depths(tx: &mut PgConnection) -> Result<Vec<Depth>, Fault> {
    let rows: Vec<(String, i16, i64, Option<i64>)> = sqlx::query_as(
        "SELECT queue, state, count(*), CASE state WHEN 1 THEN
             (extract(epoch FROM now() - min(queued_at)) * 1000000)::bigint END
         FROM longshore.live GROUP BY queue, state
         UNION ALL
         SELECT queue, 5::smallint, count(*), NULL FROM longshore.done
         WHERE state = 5 GROUP BY queue",
    )
    .fetch_all(tx)
    .await?;
    let mut depths: BTreeMap<String, Depth> = BTreeMap::new();
    for (queue, code, count, oldest) in rows {
        let depth = depths.entry(queue.clone()).or_insert_with(|| Depth {
            counts: Counts {
                queue,
                states: BTreeMap::<State, u64>::new(),
            },
            oldest_ready: None,
        });
        depth
            .counts
            .states
            .insert(rows::state(code)?, unsigned(count));
        depth.oldest_ready = depth.oldest_ready.or(oldest.map(micros));
    }
    Ok(depths.into_values().collect())
}

pub(super) async fn running(tx: &mut PgConnection, limit: u32) -> Result<Vec<RunningJob>, Fault> {
    let rows: Vec<(i64, Uuid, String, String, DateTime<Utc>)> = sqlx::query_as(
        "SELECT p.id, l.id, j.kind, j.queue, l.started_at
         FROM longshore.process p
         CROSS JOIN LATERAL (
             SELECT id, started_at FROM longshore.live
             WHERE owner = p.id AND started_at IS NOT NULL
             ORDER BY started_at, id LIMIT $1) l
         CROSS JOIN LATERAL (SELECT * FROM longshore.job WHERE id = l.id OFFSET 0) j
         WHERE p.state = 0 ORDER BY p.id, l.started_at, l.id",
    )
    .bind(i64::from(limit))
    .fetch_all(tx)
    .await?;
    let running = |(process, id, kind, queue, since): (_, Uuid, String, String, _)| {
        Ok(RunningJob {
            process: ProcessId(process),
            id: JobId::from(id),
            kind: kind.parse().map_err(Fault::corrupt)?,
            queue: queue.parse().map_err(Fault::corrupt)?,
            since,
        })
    };
    rows.into_iter().map(running).collect()
}

pub(super) async fn silence(tx: &mut PgConnection, id: JobId) -> Result<Option<Duration>, Fault> {
    let silence: Option<i64> = sqlx::query_scalar(
        "SELECT (extract(epoch FROM now() - p.beat_at) * 1000000)::bigint
         FROM longshore.live l JOIN longshore.process p ON p.id = l.owner WHERE l.id = $1",
    )
    .bind(id.uuid())
    .fetch_optional(tx)
    .await?;
    Ok(silence.map(micros))
}

pub(super) async fn place(
    tx: &mut PgConnection,
    id: JobId,
    cap: u32,
) -> Result<Option<Place>, Fault> {
    let waits: Option<(String, DateTime<Utc>, i32, bool)> = sqlx::query_as(
        "SELECT l.queue, l.queued_at, l.dispatch, j.high
         FROM longshore.live l CROSS JOIN LATERAL (
             SELECT high FROM longshore.job WHERE id = l.id OFFSET 0) j
         WHERE l.id = $1 AND l.state = 1 AND l.queued_at IS NOT NULL",
    )
    .bind(id.uuid())
    .fetch_optional(&mut *tx)
    .await?;
    let Some((queue, queued_at, dispatch, high)) = waits else {
        return Ok(None);
    };
    // The limit is within: a lane that is nearly empty is not looked for through all the others.
    let (behind, seen): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE NOT $4
                    OR (SELECT j.high FROM longshore.job j WHERE j.id = l.id)), count(*)
         FROM (
             SELECT id FROM longshore.live
             WHERE queue = $1 AND owner IS NULL AND due IS NULL AND queued_at <= $2
               AND (queued_at, id) < ($2, $3)
             ORDER BY queued_at DESC LIMIT $5) l",
    )
    .bind(queue)
    .bind(queued_at)
    .bind(id.uuid())
    .bind(high)
    .bind(i64::from(cap))
    .fetch_one(&mut *tx)
    .await?;
    let unpublished: Option<i64> = sqlx::query_scalar(
        "SELECT (extract(epoch FROM now() - created_at) * 1000000)::bigint
         FROM (SELECT created_at, jobs, dispatches FROM longshore.outbox
               ORDER BY id LIMIT $3) o
         WHERE EXISTS (SELECT 1 FROM unnest(jobs, dispatches) AS d (job, dispatch)
                       WHERE d.job = $1 AND d.dispatch = $2)
         LIMIT 1",
    )
    .bind(id.uuid())
    .bind(dispatch)
    .bind(ENTRIES)
    .fetch_optional(tx)
    .await?;
    Ok(Some(Place {
        behind: unsigned(behind),
        or_more: seen >= i64::from(cap),
        unpublished: unpublished.map(micros),
    }))
}
