use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::types::{Json, Uuid};

use super::{SqliteStore, clock, rows};
use crate::job::{JobId, ProcessId, State};
use crate::store::control::breaker_error;
use crate::store::{Counts, Depth, Place, Report, Reported, RunningJob};

pub(super) async fn report(
    store: &SqliteStore,
    process: ProcessId,
    reports: &[Report],
) -> sqlx::Result<()> {
    let (mut tx, _) = store.write().await?;
    sqlx::query("DELETE FROM report WHERE process NOT IN (SELECT id FROM process WHERE alive)")
        .execute(&mut *tx)
        .await?;
    for report in reports {
        sqlx::query(
            "INSERT INTO report (process, queue, kinds, capacity, breaker, accepted, finished,
                                 breaker_code, breaker_message)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (process, queue) DO UPDATE
             SET kinds = excluded.kinds, capacity = excluded.capacity,
                 breaker = excluded.breaker, accepted = excluded.accepted,
                 finished = excluded.finished,
                 breaker_code = excluded.breaker_code,
                 breaker_message = excluded.breaker_message",
        )
        .bind(process.0)
        .bind(report.queue.as_str())
        .bind(Json(&report.kinds))
        .bind(report.capacity)
        .bind(&report.breaker)
        .bind(report.accepted)
        .bind(report.finished)
        .bind(report.breaker_error.as_ref().map(|error| &error.code))
        .bind(report.breaker_error.as_ref().map(|error| &error.message))
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await
}

#[derive(sqlx::FromRow)]
struct Row {
    process: i64,
    queue: String,
    kinds: Json<Vec<String>>,
    capacity: u32,
    breaker: String,
    accepted: f64,
    finished: f64,
    breaker_code: Option<String>,
    breaker_message: Option<String>,
}

pub(super) async fn reports(store: &SqliteStore) -> sqlx::Result<Vec<Reported>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT process, queue, kinds, capacity, breaker, accepted, finished,
                breaker_code, breaker_message FROM report
         WHERE process IN (SELECT id FROM process WHERE alive) ORDER BY process, queue",
    )
    .fetch_all(&store.readers)
    .await?;
    let reported = |row: Row| {
        let kinds = row.kinds.0.iter().map(|kind| kind.parse());
        Ok(Reported {
            process: ProcessId(row.process),
            report: Report {
                queue: row.queue.parse().map_err(rows::corrupt)?,
                kinds: kinds.collect::<Result<_, _>>().map_err(rows::corrupt)?,
                capacity: row.capacity,
                breaker: row.breaker,
                breaker_error: breaker_error(row.breaker_code, row.breaker_message),
                accepted: row.accepted,
                finished: row.finished,
            },
        })
    };
    rows.into_iter().map(reported).collect()
}

pub(super) async fn depths(store: &SqliteStore) -> sqlx::Result<Vec<Depth>> {
    let now = store.clock.micros();
    let rows: Vec<(String, i16, i64, Option<i64>)> = sqlx::query_as(
        "SELECT queue, state, count(*), CASE state WHEN 1 THEN min(queued_at) END
         FROM job WHERE state IN (0, 1, 2, 3, 5) GROUP BY state, queue",
    )
    .fetch_all(&store.readers)
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
        let states = &mut depth.counts.states;
        states.insert(rows::state(code)?, count.unsigned_abs());
        let oldest = oldest.map(|since| clock::elapsed(since, now));
        depth.oldest_ready = depth.oldest_ready.or(oldest);
    }
    Ok(depths.into_values().collect())
}

pub(super) async fn running(store: &SqliteStore, limit: u32) -> sqlx::Result<Vec<RunningJob>> {
    let rows: Vec<(i64, Uuid, String, String, i64)> = sqlx::query_as(
        "SELECT owner, id, kind, queue, started_at FROM (
             SELECT owner, id, kind, queue, started_at,
                    row_number() OVER (PARTITION BY owner ORDER BY started_at, id) AS n
             FROM job WHERE state = 2 AND owner IN (SELECT id FROM process WHERE alive))
         WHERE n <= ?1 ORDER BY owner, n",
    )
    .bind(limit)
    .fetch_all(&store.readers)
    .await?;
    let running = |(process, id, kind, queue, since): (_, Uuid, String, String, i64)| {
        Ok(RunningJob {
            process: ProcessId(process),
            id: id.into(),
            kind: kind.parse().map_err(rows::corrupt)?,
            queue: queue.parse().map_err(rows::corrupt)?,
            since: clock::moment(since)?,
        })
    };
    rows.into_iter().map(running).collect()
}

pub(super) async fn silence(store: &SqliteStore, id: JobId) -> sqlx::Result<Option<Duration>> {
    let now = store.clock.micros();
    let beat: Option<i64> = sqlx::query_scalar(
        "SELECT p.beat_at FROM job JOIN process p ON p.id = job.owner
         WHERE job.id = ?1 AND job.state = 2",
    )
    .bind(id.uuid())
    .fetch_optional(&store.readers)
    .await?;
    Ok(beat.map(|beat| clock::elapsed(beat, now)))
}

pub(super) async fn place(store: &SqliteStore, id: JobId, cap: u32) -> sqlx::Result<Option<Place>> {
    let now = store.clock.micros();
    let mut tx = store.read().await?;
    let waits: Option<(String, i64, i32, bool)> = sqlx::query_as(
        "SELECT queue, queued_at, dispatch, high FROM job
         WHERE id = ?1 AND state = 1 AND queued_at IS NOT NULL",
    )
    .bind(id.uuid())
    .fetch_optional(&mut *tx)
    .await?;
    let Some((queue, queued_at, dispatch, high)) = waits else {
        return Ok(None);
    };
    let (behind, seen): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE high OR NOT ?4), count(*) FROM (
             SELECT high FROM job WHERE state = 1 AND queue = ?1 AND queued_at <= ?2
               AND (queued_at, id) < (?2, ?3) ORDER BY queued_at DESC LIMIT ?5)",
    )
    .bind(queue)
    .bind(queued_at)
    .bind(id.uuid())
    .bind(high)
    .bind(cap)
    .fetch_one(&mut *tx)
    .await?;
    let entered: Option<i64> = sqlx::query_scalar(
        "SELECT outbox.created_at FROM outbox CROSS JOIN json_each(outbox.jobs) AS r
         WHERE r.value ->> 0 = ?1 AND r.value ->> 1 = ?2 LIMIT 1",
    )
    .bind(rows::hex(id))
    .bind(dispatch)
    .fetch_optional(&mut *tx)
    .await?;
    Ok(Some(Place {
        behind: behind.unsigned_abs(),
        or_more: seen >= i64::from(cap),
        unpublished: entered.map(|since| clock::elapsed(since, now)),
    }))
}
