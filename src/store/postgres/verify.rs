use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Fault;
use super::transaction::{SNAPSHOT, WIDE, transact, unsigned};
use super::{PostgresStore, rows, schema};
use crate::job::{JobId, State};
use crate::store::{
    Balance, Check, Counts, Difference, InFlight, KindCounts, OutboxSize, Sheet, StoreResult, Sum,
    Sums, Tally, Verify,
};

#[async_trait]
impl Verify for PostgresStore {
    async fn sheet(&self, balances: &[Balance], sums: &[Sums], named: u32) -> StoreResult<Sheet> {
        let _place = self.wide().await?;
        transact!(self.reads, SNAPSHOT, |tx| sheet(
            &mut tx, balances, sums, named
        ))
    }

    async fn in_flight(&self) -> StoreResult<Vec<InFlight>> {
        let _place = self.wide().await?;
        transact!(self.reads, WIDE, |tx| in_flight(&mut tx))
    }
}

async fn sheet(
    tx: &mut PgConnection,
    balances: &[Balance],
    sums: &[Sums],
    named: u32,
) -> Result<Sheet, Fault> {
    let at = schema::now(tx).await?;
    let queues = counts(tx, BY_QUEUE).await?;
    let kinds = counts(tx, BY_KIND).await?;
    let jobs = tally(tx, &queues).await?;
    let mut checks = vec![balance_of_jobs(tx, &jobs, named).await?];
    for (name, query) in CHECKS {
        mark(tx).await?;
        let answer = compare(tx, query, named).await;
        checks.push(settle(tx, name, answer).await?);
    }
    for balance in balances {
        mark(tx).await?;
        let answer = question(tx, balance, sums).await;
        checks.push(settle(tx, balance.name, answer).await?);
    }
    Ok(Sheet {
        at,
        jobs,
        queues: by_name(queues, |queue, states| Counts { queue, states }),
        kinds: by_name(kinds, |kind, states| KindCounts { kind, states }),
        in_flight: in_flight(tx).await?,
        outbox: outbox(tx).await?,
        checks,
    })
}

type Counted = BTreeMap<String, BTreeMap<State, u64>>;

fn by_name<T>(counted: Counted, row: impl Fn(String, BTreeMap<State, u64>) -> T) -> Vec<T> {
    let rows = counted.into_iter().map(|(name, states)| row(name, states));
    rows.collect()
}

/// Both from the one index that has queue, kind and state.
const BY_QUEUE: &str = "
    SELECT queue, state, count(*) FROM longshore.live GROUP BY queue, state
    UNION ALL
    SELECT queue, state, count(*) FROM longshore.done GROUP BY queue, state";
const BY_KIND: &str = "
    SELECT kind, state, count(*) FROM longshore.live GROUP BY kind, state
    UNION ALL
    SELECT kind, state, count(*) FROM longshore.done GROUP BY kind, state";

async fn counts(tx: &mut PgConnection, query: &'static str) -> Result<Counted, Fault> {
    let rows: Vec<(String, i16, i64)> = sqlx::query_as(query).fetch_all(tx).await?;
    let mut counted = Counted::new();
    for (name, code, count) in rows {
        let states = counted.entry(name).or_default();
        *states.entry(rows::state(code)?).or_default() += unsigned::<_, u64>(count);
    }
    Ok(counted)
}

async fn tally(tx: &mut PgConnection, queues: &Counted) -> Result<Tally, Fault> {
    let (accepted, pruned): (i64, i64) = sqlx::query_as(
        "SELECT COALESCE(sum(accepted), 0)::bigint
                    + (SELECT COALESCE(sum(accepted), 0)::bigint FROM longshore.submitted),
                COALESCE(sum(pruned), 0)::bigint
         FROM longshore.tally",
    )
    .fetch_one(tx)
    .await?;
    Ok(Tally::of(
        unsigned(accepted),
        unsigned(pruned),
        queues.values(),
    ))
}

/// What was accepted, against the rows. A job of which every row is gone may have left traces.
async fn balance_of_jobs(tx: &mut PgConnection, tally: &Tally, named: u32) -> Result<Check, Fault> {
    let Some(difference) = tally.difference() else {
        return Ok(Check::named("jobs"));
    };
    mark(tx).await?;
    let traces = compare(tx, TRACES, named).await;
    let mut check = settle(tx, "jobs", traces).await?;
    check.differences.insert(0, difference);
    Ok(check)
}

/// Each question is asked in a savepoint: one that takes too long, or that the tables cannot
/// answer, is told as such, and the others are asked in the same snapshot.
async fn mark(tx: &mut PgConnection) -> Result<(), Fault> {
    sqlx::raw_sql("SAVEPOINT question").execute(tx).await?;
    Ok(())
}

async fn settle(
    tx: &mut PgConnection,
    name: &str,
    answer: Result<Check, Fault>,
) -> Result<Check, Fault> {
    match answer {
        Ok(check) => {
            sqlx::raw_sql("RELEASE question").execute(tx).await?;
            Ok(Check {
                name: name.to_owned(),
                ..check
            })
        }
        Err(Fault::Sql(sqlx::Error::Database(error))) => {
            // Fails in its turn where the connection is lost.
            sqlx::raw_sql("ROLLBACK TO question").execute(tx).await?;
            Ok(Check {
                unfinished: Some(error.message().to_owned()),
                ..Check::named(name)
            })
        }
        Err(fault) => Err(fault),
    }
}

/// A query of an id, what is wrong with it, and how many there are in all.
async fn compare(tx: &mut PgConnection, query: &'static str, named: u32) -> Result<Check, Fault> {
    let rows: Vec<(Uuid, String, i64)> = sqlx::query_as(query)
        .bind(i64::from(named))
        .fetch_all(tx)
        .await?;
    let all: u64 = rows.first().map_or(0, |row| unsigned(row.2));
    let differences: Vec<Difference> = rows
        .into_iter()
        .map(|(id, detail, _)| Difference {
            job: Some(JobId::from(id)),
            detail,
        })
        .collect();
    Ok(Check {
        more: all.saturating_sub(differences.len() as u64),
        differences,
        ..Check::default()
    })
}

async fn question(tx: &mut PgConnection, balance: &Balance, sums: &[Sums]) -> Result<Check, Fault> {
    let found: Vec<String> = sqlx::query_scalar(balance.postgres)
        .fetch_all(&mut *tx)
        .await?;
    let mut totals = Vec::new();
    for asked in sums.iter().filter(|sums| sums.name == balance.name) {
        let rows: Vec<(String, i64)> = sqlx::query_as(asked.postgres).fetch_all(&mut *tx).await?;
        totals.extend(rows.into_iter().map(|(of, amount)| Sum { of, amount }));
    }
    let difference = |detail| Difference { job: None, detail };
    Ok(Check {
        differences: found.into_iter().map(difference).collect(),
        sums: totals,
        ..Check::default()
    })
}

async fn in_flight(tx: &mut PgConnection) -> Result<Vec<InFlight>, Fault> {
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "SELECT l.queue, count(*) FILTER (WHERE l.state = 1),
                count(*) FILTER (WHERE l.state = 1 AND o.job IS NOT NULL),
                count(*) FILTER (WHERE l.state = 2)
         FROM longshore.live l
         LEFT JOIN (SELECT DISTINCT d.job, d.dispatch
                    FROM longshore.outbox, unnest(jobs, dispatches) AS d (job, dispatch)) o
             ON o.job = l.id AND o.dispatch = l.dispatch
         GROUP BY l.queue ORDER BY l.queue",
    )
    .fetch_all(tx)
    .await?;
    let row = |(queue, queued, unpublished, running)| InFlight {
        queue,
        queued: unsigned(queued),
        unpublished: unsigned(unpublished),
        running: unsigned(running),
    };
    Ok(rows.into_iter().map(row).collect())
}

async fn outbox(tx: &mut PgConnection) -> Result<OutboxSize, Fault> {
    let (entries, dispatches, oldest_age): (i64, i64, Option<f64>) = sqlx::query_as(
        "SELECT count(*), COALESCE(sum(cardinality(jobs)), 0)::bigint,
                extract(epoch FROM now() - min(created_at))::double precision
         FROM longshore.outbox",
    )
    .fetch_one(tx)
    .await?;
    Ok(OutboxSize {
        entries: unsigned(entries),
        dispatches: unsigned(dispatches),
        oldest_age,
    })
}

/// What a job of which no row is left may be named by.
const TRACES: &str = "
    SELECT id, 'has no row, but ' || string_agg(what, ' and ' ORDER BY what), count(*) OVER ()
    FROM (SELECT job AS id, 'an idempotency key belongs to it' AS what
          FROM longshore.unique_key WHERE expires_at IS NULL
          UNION
          SELECT id, 'attempts of it are on record' FROM longshore.attempt
          UNION
          SELECT d.job, 'the outbox is to send it'
          FROM longshore.outbox, unnest(jobs) AS d (job)) trace
    WHERE NOT EXISTS (SELECT FROM longshore.job j WHERE j.id = trace.id)
      AND NOT EXISTS (SELECT FROM longshore.live l WHERE l.id = trace.id)
      AND NOT EXISTS (SELECT FROM longshore.done d WHERE d.id = trace.id)
      AND NOT EXISTS (SELECT FROM longshore.tombstone t WHERE t.id = trace.id)
    GROUP BY id ORDER BY id LIMIT $1";

/// Each finds nothing in any snapshot. Joined in the order of ids, day by day: nothing is
/// gathered but what is found.
const CHECKS: [(&str, &str); 5] = [
    (
        "rows",
        "SELECT id, what, count(*) OVER () FROM (
             SELECT COALESCE(j.id, d.id) AS id,
                    CASE WHEN j.id IS NULL THEN 'has ended, but what was submitted is gone'
                         ELSE 'was accepted, but is neither live nor ended' END AS what
             FROM longshore.job j FULL JOIN longshore.done d ON d.id = j.id
             LEFT JOIN longshore.live l ON l.id = j.id
             WHERE j.id IS NULL OR (d.id IS NULL AND l.id IS NULL)
             UNION ALL
             SELECT l.id, 'is live, but what was submitted is gone' FROM longshore.live l
             WHERE NOT EXISTS (SELECT FROM longshore.job j WHERE j.id = l.id)
             UNION ALL
             SELECT l.id, 'is live and has ended' FROM longshore.live l
             JOIN longshore.done d ON d.id = l.id) found
         ORDER BY id LIMIT $1",
    ),
    (
        // What died has a fingerprint of its cause, and nothing else has.
        "ends",
        "SELECT id, CASE WHEN fingerprint IS NULL THEN 'is dead of nothing'
                         ELSE 'has died, and is called something else' END, count(*) OVER ()
         FROM longshore.done WHERE (state = 5) <> (fingerprint IS NOT NULL)
         ORDER BY id LIMIT $1",
    ),
    (
        "running",
        "SELECT l.id, 'runs in process ' || l.owner || ', which has ended', count(*) OVER ()
         FROM longshore.live l
         WHERE l.owner IS NOT NULL
           AND NOT EXISTS (SELECT FROM longshore.process p WHERE p.id = l.owner AND p.state = 0)
         ORDER BY l.id LIMIT $1",
    ),
    (
        "outbox",
        "SELECT l.id, 'is at dispatch ' || l.dispatch || ', but the outbox is to send '
                    || COALESCE(d.dispatch::text, 'none'), count(*) OVER ()
         FROM longshore.outbox o CROSS JOIN unnest(o.jobs, o.dispatches) AS d (job, dispatch)
         JOIN longshore.live l ON l.id = d.job
         WHERE d.dispatch > l.dispatch OR d.dispatch IS NULL
         ORDER BY l.id LIMIT $1",
    ),
    (
        "attempts",
        "SELECT id, what, count(*) OVER () FROM (
             SELECT DISTINCT a.id, 'has attempts on record, but no row' AS what
             FROM longshore.attempt a
             WHERE NOT EXISTS (SELECT FROM longshore.job j WHERE j.id = a.id)
             UNION ALL
             SELECT f.id, 'has failed ' || f.failed || ' times, but ' || a.count
                        || ' attempts are on record'
             FROM (SELECT id, recorded + failures AS failed FROM longshore.live
                   WHERE recorded + failures > 0
                   UNION ALL
                   SELECT id, recorded + failures FROM longshore.done
                   WHERE recorded + failures > 0) f
             CROSS JOIN LATERAL (
                 SELECT count(*) FROM longshore.attempt a WHERE a.id = f.id OFFSET 0) a
             WHERE a.count <> f.failed) found
         ORDER BY id LIMIT $1",
    ),
];
