use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Fault;
use super::transaction::micros;
use crate::job::{JobError, Transition};
use crate::store::Record;

/// Locks the rows of all the runs, in id order, then writes each kind of ending with one
/// statement for those whose fence holds: nobody else can touch them from the lock on.
pub(super) async fn record(tx: &mut PgConnection, records: &[Record]) -> Result<Vec<bool>, Fault> {
    let mut fences = lock(tx, records).await?;
    let mut written = vec![false; records.len()];
    let mut kinds: HashMap<Discriminant<Transition>, Vec<&Record>> = HashMap::new();
    for (record, written) in records.iter().zip(&mut written) {
        let fence = (record.owner.0, record.epoch);
        if fences.get(&record.id.uuid()) == Some(&fence) {
            // A second record of the same run finds it ended.
            fences.remove(&record.id.uuid());
            let kind = discriminant(&record.transition);
            kinds.entry(kind).or_default().push(record);
            *written = true;
        }
    }
    for alike in kinds.values() {
        write(tx, alike).await?;
    }
    Ok(written)
}

/// Owner and epoch of each of the jobs that is running.
async fn lock(
    tx: &mut PgConnection,
    records: &[Record],
) -> Result<HashMap<Uuid, (i64, i32)>, Fault> {
    let ids: Vec<Uuid> = records.iter().map(|record| record.id.uuid()).collect();
    let running: Vec<(Uuid, i64, i32)> = sqlx::query_as(
        "SELECT id, owner, epoch FROM longshore.live
         WHERE id = ANY ($1) AND state = 2 ORDER BY id FOR UPDATE",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?;
    let fence = |(id, owner, epoch)| (id, (owner, epoch));
    Ok(running.into_iter().map(fence).collect())
}

/// Writes endings of one kind to rows that are locked and fenced.
async fn write(tx: &mut PgConnection, alike: &[&Record]) -> Result<(), Fault> {
    let ids: Vec<Uuid> = alike.iter().map(|record| record.id.uuid()).collect();
    match alike.first().map(|record| &record.transition) {
        None => {}
        Some(Transition::Succeed { .. }) => {
            let results: Vec<Option<Vec<u8>>> = alike.iter().map(|record| result(record)).collect();
            let query = sqlx::query(SUCCEED).bind(ids).bind(results);
            query.execute(tx).await?;
        }
        Some(Transition::HandBack) => {
            sqlx::query(HAND_BACK).bind(ids).execute(tx).await?;
        }
        Some(Transition::Retry { .. }) => fail(tx, RETRY, ids, alike).await?,
        Some(Transition::Postpone { .. }) => fail(tx, POSTPONE, ids, alike).await?,
        Some(Transition::Die { .. }) => fail(tx, DIE, ids, alike).await?,
    }
    Ok(())
}

async fn fail(
    tx: &mut PgConnection,
    statement: &'static str,
    ids: Vec<Uuid>,
    alike: &[&Record],
) -> Result<(), Fault> {
    let error = |part: fn(&JobError) -> &str| -> Vec<Option<&str>> {
        let errors = alike.iter().map(|record| record.transition.error());
        errors.map(|error| error.map(part)).collect()
    };
    let delays: Vec<i64> = alike
        .iter()
        .map(|record| micros(delay(&record.transition)))
        .collect();
    sqlx::query(statement)
        .bind(ids)
        .bind(delays)
        .bind(error(|error| &error.code))
        .bind(error(|error| &error.message))
        .bind(error(|error| error.class.as_str()))
        .execute(tx)
        .await?;
    Ok(())
}

fn result(record: &Record) -> Option<Vec<u8>> {
    match &record.transition {
        Transition::Succeed { result } => {
            result.as_ref().map(|value| value.to_string().into_bytes())
        }
        _ => None,
    }
}

fn delay(transition: &Transition) -> Duration {
    match transition {
        Transition::Retry { after, .. } | Transition::Postpone { after, .. } => *after,
        Transition::Succeed { .. } | Transition::Die { .. } | Transition::HandBack => {
            Duration::ZERO
        }
    }
}

// Rows are found by `id = ANY` or by a look-up that `OFFSET 0` keeps one: never by a join, which
// a plan made while `live` was nearly empty would do the wrong way round when it is not.

const SUCCEED: &str = "
WITH kept AS (
    INSERT INTO longshore.done (id, queue, state, dispatch, epoch, failures, recorded, owner,
                                started_at, finished_at, result)
    SELECT l.id, l.queue, 4, l.dispatch, l.epoch, l.failures, l.recorded, l.owner,
           l.started_at, now(), g.result
    FROM unnest($1::uuid[], $2::bytea[]) AS g (id, result)
    CROSS JOIN LATERAL (SELECT * FROM longshore.live WHERE id = g.id OFFSET 0) l)
DELETE FROM longshore.live WHERE id = ANY ($1)";

const HAND_BACK: &str = "
WITH back AS (
    UPDATE longshore.live SET state = 1, owner = NULL, queued_at = now()
    WHERE id = ANY ($1) RETURNING id, dispatch)
INSERT INTO longshore.outbox (available_at, created_at, high, jobs, dispatches)
SELECT now(), now(), true, array_agg(id ORDER BY id), array_agg(dispatch ORDER BY id) FROM back";

macro_rules! attempt {
    () => {
        "INSERT INTO longshore.attempt (id, number, worker, started_at, finished_at,
                                        error_code, error_message, error_class)
         SELECT l.id, l.recorded + l.failures + 1,
                (SELECT name FROM longshore.process WHERE id = l.owner),
                l.started_at, now(), g.code, g.message, g.class
         FROM unnest($1::uuid[], $3::text[], $4::text[], $5::text[]) AS g (id, code, message, class)
         CROSS JOIN LATERAL (SELECT * FROM longshore.live WHERE id = g.id OFFSET 0) l"
    };
}

macro_rules! waits {
    () => {
        "(due, error_code, error_message, error_class) = (
             SELECT now() + ($2::bigint[])[n] * interval '1 microsecond',
                    ($3::text[])[n], ($4::text[])[n], ($5::text[])[n]
             FROM (SELECT array_position($1, live.id) OFFSET 0) AS place (n))
         WHERE id = ANY ($1)"
    };
}

/// A counted failure ends a row of postponements.
const RETRY: &str = concat!(
    "WITH kept AS (",
    attempt!(),
    ") UPDATE longshore.live
       SET state = 3, owner = NULL, failures = failures + 1, postponed_since = NULL, ",
    waits!()
);

const POSTPONE: &str = concat!(
    "UPDATE longshore.live
     SET state = 3, owner = NULL, postponed_since = COALESCE(postponed_since, now()), ",
    waits!()
);

const DIE: &str = concat!(
    "WITH kept AS (
         INSERT INTO longshore.done (id, queue, state, dispatch, epoch, failures, recorded, owner,
                                     started_at, finished_at,
                                     error_code, error_message, error_class)
         SELECT l.id, l.queue, 5, l.dispatch, l.epoch, l.failures + 1, l.recorded, l.owner,
                l.started_at, now(), g.code, g.message, g.class
         FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[])
             AS g (id, after, code, message, class)
         CROSS JOIN LATERAL (SELECT * FROM longshore.live WHERE id = g.id OFFSET 0) l),
     last_attempt AS (",
    attempt!(),
    ") DELETE FROM longshore.live WHERE id = ANY ($1)"
);
