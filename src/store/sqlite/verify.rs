use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::types::Uuid;
use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::error::classify;
use super::{SqliteStore, clock, rows};
use crate::job::{JobId, State};
use crate::store::{
    Balance, Check, Counts, Difference, InFlight, KindCounts, OutboxSize, Sheet, StoreResult, Sum,
    Sums, Tally, Verify,
};

#[async_trait]
impl Verify for SqliteStore {
    async fn sheet(&self, balances: &[Balance], sums: &[Sums], named: u32) -> StoreResult<Sheet> {
        let mut tx = self.read().await.map_err(classify)?;
        let now = self.clock.micros();
        sheet(&mut tx, now, balances, sums, named)
            .await
            .map_err(classify)
    }

    async fn in_flight(&self) -> StoreResult<Vec<InFlight>> {
        let mut tx = self.read().await.map_err(classify)?;
        in_flight(&mut tx).await.map_err(classify)
    }
}

async fn sheet(
    tx: &mut Transaction<'static, Sqlite>,
    now: i64,
    balances: &[Balance],
    sums: &[Sums],
    named: u32,
) -> sqlx::Result<Sheet> {
    let queues = counts(
        tx,
        "SELECT queue, state, count(*) FROM job GROUP BY state, queue",
    )
    .await?;
    let kinds = counts(
        tx,
        "SELECT kind, state, count(*) FROM job GROUP BY kind, state",
    )
    .await?;
    let (accepted, pruned): (i64, i64) =
        sqlx::query_as("SELECT coalesce(sum(accepted), 0), coalesce(sum(pruned), 0) FROM tally")
            .fetch_one(&mut **tx)
            .await?;
    let jobs = Tally::of(
        accepted.unsigned_abs(),
        pruned.unsigned_abs(),
        queues.values(),
    );
    let mut checks = vec![Check::named("jobs")];
    if let Some(difference) = jobs.difference() {
        checks[0] = compare(tx, "jobs", TRACES, named).await?;
        checks[0].differences.insert(0, difference);
    }
    for (name, query) in CHECKS {
        checks.push(compare(tx, name, query, named).await?);
    }
    for balance in balances {
        let answer = question(tx, balance, sums).await;
        checks.push(match answer {
            Err(sqlx::Error::Database(error)) => Check {
                unfinished: Some(error.message().to_owned()),
                ..Check::named(balance.name)
            },
            answer => answer?,
        });
    }
    Ok(Sheet {
        at: clock::moment(now)?,
        jobs,
        queues: by_name(queues, |queue, states| Counts { queue, states }),
        kinds: by_name(kinds, |kind, states| KindCounts { kind, states }),
        in_flight: in_flight(tx).await?,
        outbox: outbox(tx, now).await?,
        checks,
    })
}

type Counted = BTreeMap<String, BTreeMap<State, u64>>;

fn by_name<T>(counted: Counted, row: impl Fn(String, BTreeMap<State, u64>) -> T) -> Vec<T> {
    let rows = counted.into_iter().map(|(name, states)| row(name, states));
    rows.collect()
}

async fn counts(db: &mut SqliteConnection, query: &'static str) -> sqlx::Result<Counted> {
    let rows: Vec<(String, i16, i64)> = sqlx::query_as(query).fetch_all(db).await?;
    let mut counted = Counted::new();
    for (name, code, count) in rows {
        let states = counted.entry(name).or_default();
        states.insert(rows::state(code)?, count.unsigned_abs());
    }
    Ok(counted)
}

/// A query of an id, what is wrong with it, and how many there are in all.
async fn compare(
    db: &mut SqliteConnection,
    name: &str,
    query: &'static str,
    named: u32,
) -> sqlx::Result<Check> {
    let rows: Vec<(Vec<u8>, String, i64)> = sqlx::query_as(query).bind(named).fetch_all(db).await?;
    let all = rows.first().map_or(0, |row| row.2.unsigned_abs());
    let difference = |(id, detail, _): (Vec<u8>, String, i64)| Difference {
        job: Uuid::from_slice(&id).ok().map(JobId::from),
        detail,
    };
    let differences: Vec<Difference> = rows.into_iter().map(difference).collect();
    Ok(Check {
        more: all.saturating_sub(differences.len() as u64),
        differences,
        ..Check::named(name)
    })
}

async fn question(
    db: &mut SqliteConnection,
    balance: &Balance,
    sums: &[Sums],
) -> sqlx::Result<Check> {
    let found: Vec<String> = sqlx::query_scalar(balance.sqlite)
        .fetch_all(&mut *db)
        .await?;
    let mut totals = Vec::new();
    for asked in sums.iter().filter(|sums| sums.name == balance.name) {
        let rows: Vec<(String, i64)> = sqlx::query_as(asked.sqlite).fetch_all(&mut *db).await?;
        totals.extend(rows.into_iter().map(|(of, amount)| Sum { of, amount }));
    }
    let difference = |detail| Difference { job: None, detail };
    Ok(Check {
        differences: found.into_iter().map(difference).collect(),
        sums: totals,
        ..Check::named(balance.name)
    })
}

async fn in_flight(db: &mut SqliteConnection) -> sqlx::Result<Vec<InFlight>> {
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "SELECT queue, count(*) FILTER (WHERE state = 1),
                count(*) FILTER (WHERE state = 1 AND (id, dispatch) IN (
                    SELECT unhex(d.value ->> 0), d.value ->> 1
                    FROM outbox, json_each(outbox.jobs) AS d)),
                count(*) FILTER (WHERE state = 2)
         FROM job WHERE state IN (0, 1, 2, 3) GROUP BY queue ORDER BY queue",
    )
    .fetch_all(db)
    .await?;
    let row = |(queue, queued, unpublished, running): (String, i64, i64, i64)| InFlight {
        queue,
        queued: queued.unsigned_abs(),
        unpublished: unpublished.unsigned_abs(),
        running: running.unsigned_abs(),
    };
    Ok(rows.into_iter().map(row).collect())
}

async fn outbox(db: &mut SqliteConnection, now: i64) -> sqlx::Result<OutboxSize> {
    let (entries, dispatches, oldest): (i64, i64, Option<i64>) = sqlx::query_as(
        "SELECT count(*), coalesce(sum(json_array_length(jobs)), 0), min(created_at) FROM outbox",
    )
    .fetch_one(db)
    .await?;
    Ok(OutboxSize {
        entries: entries.unsigned_abs(),
        dispatches: dispatches.unsigned_abs(),
        oldest_age: oldest.map(|since| clock::elapsed(since, now).as_secs_f64()),
    })
}

/// What a job whose row is gone may be named by. Keys outlive pruned jobs by up to a day.
const TRACES: &str = "
    SELECT id, 'has no row, but ' || group_concat(what, ' and '), count(*) OVER ()
    FROM (SELECT job AS id, 'attempts of it are on record' AS what FROM attempt
          UNION
          SELECT unhex(d.value ->> 0), 'the outbox is to send it'
          FROM outbox, json_each(outbox.jobs) AS d
          UNION
          SELECT job, 'an idempotency key belongs to it' FROM unique_key
          WHERE scope NOT LIKE 'operation:%') trace
    WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.id = trace.id)
      AND NOT EXISTS (SELECT 1 FROM tombstone WHERE tombstone.id = trace.id)
    GROUP BY id ORDER BY id LIMIT ?1";

/// Each finds nothing in any snapshot.
const CHECKS: [(&str, &str); 4] = [
    (
        // What died has a fingerprint of its cause, and nothing else has.
        "ends",
        "SELECT id, CASE WHEN fingerprint IS NULL THEN 'is dead of nothing'
                         ELSE 'has died, and is called something else' END, count(*) OVER ()
         FROM job WHERE (state = 5) <> (fingerprint IS NOT NULL)
         ORDER BY id LIMIT ?1",
    ),
    (
        "running",
        "SELECT id, 'runs in process ' || owner || ', which has ended', count(*) OVER ()
         FROM job
         WHERE state = 2
           AND NOT EXISTS (SELECT 1 FROM process WHERE process.id = job.owner AND alive)
         ORDER BY id LIMIT ?1",
    ),
    (
        "outbox",
        "SELECT job.id, 'is at dispatch ' || job.dispatch || ', but the outbox is to send '
                    || (d.value ->> 1), count(*) OVER ()
         FROM outbox, json_each(outbox.jobs) AS d
         JOIN job ON job.id = unhex(d.value ->> 0)
         WHERE d.value ->> 1 > job.dispatch
         ORDER BY job.id LIMIT ?1",
    ),
    (
        "attempts",
        "SELECT id, what, count(*) OVER () FROM (
             SELECT DISTINCT job AS id, 'has attempts on record, but no row' AS what
             FROM attempt WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.id = attempt.job)
             UNION ALL
             SELECT id, 'has failed ' || failures || ' times, but '
                        || (SELECT count(*) FROM attempt WHERE attempt.job = job.id)
                        || ' attempts are on record'
             FROM job
             WHERE failures > 0
               AND failures > (SELECT count(*) FROM attempt WHERE attempt.job = job.id))
         ORDER BY id LIMIT ?1",
    ),
];
