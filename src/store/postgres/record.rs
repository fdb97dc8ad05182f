use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Fault;
use super::transaction::micros;
use crate::job::{JobError, Transition, fingerprint};
use crate::store::Record;

/// An end of a run that is to be written, and what its job does.
struct Ending<'a> {
    record: Cow<'a, Record>,
    kind: String,
}

/// A run, by the row that is locked.
struct Run {
    fence: (i64, i32),
    kind: String,
    cancel_requested: bool,
}

/// A run by what must match its row: job, owner and epoch.
type Fence = (Uuid, i64, i32);

fn fence(record: &Record) -> Fence {
    (record.id.uuid(), record.owner.0, record.epoch)
}

/// Where all have succeeded, as nearly always, one statement does it: a success is the same
/// whether a cancellation was asked for or not, so no row has to be seen before it is moved.
pub(super) async fn record(tx: &mut PgConnection, records: &[Record]) -> Result<Vec<bool>, Fault> {
    let success = |record: &Record| matches!(record.transition, Transition::Succeed { .. });
    if records.iter().all(success) {
        return succeed(tx, records).await;
    }
    record_any(tx, records).await
}

/// Moves the rows whose fences hold. Of two equal records the first one is written.
async fn succeed(tx: &mut PgConnection, records: &[Record]) -> Result<Vec<bool>, Fault> {
    let mut seen = HashSet::with_capacity(records.len());
    let once = records.iter().filter(|record| seen.insert(fence(record)));
    let (mut ids, mut owners, mut epochs, mut results) = (vec![], vec![], vec![], vec![]);
    for record in once {
        let (id, owner, epoch) = fence(record);
        ids.push(id);
        owners.push(owner);
        epochs.push(epoch);
        results.push(result(record));
    }
    let moved: Vec<Fence> = sqlx::query_as(SUCCEED)
        .bind(ids)
        .bind(owners)
        .bind(epochs)
        .bind(results)
        .fetch_all(tx)
        .await?;
    let mut moved: HashSet<Fence> = moved.into_iter().collect();
    let written = records.iter().map(|record| moved.remove(&fence(record)));
    Ok(written.collect())
}

/// Locks the rows of all the runs, in id order, then writes each kind of ending with one
/// statement for those whose fence holds: nobody else can touch them from the lock on, and a
/// request to cancel is seen or comes to the next run.
async fn record_any(tx: &mut PgConnection, records: &[Record]) -> Result<Vec<bool>, Fault> {
    let mut runs = lock(tx, records).await?;
    let mut written = vec![false; records.len()];
    let mut kinds: HashMap<Discriminant<Transition>, Vec<Ending<'_>>> = HashMap::new();
    for (record, written) in records.iter().zip(&mut written) {
        let id = record.id.uuid();
        if runs.get(&id).map(|run| run.fence) != Some((record.owner.0, record.epoch)) {
            continue;
        }
        // Taken: a second record of the same run finds it ended.
        let Some(run) = runs.remove(&id) else {
            continue;
        };
        let ending = Ending {
            record: under_cancellation(record, run.cancel_requested),
            kind: run.kind,
        };
        let kind = discriminant(&ending.record.transition);
        kinds.entry(kind).or_default().push(ending);
        *written = true;
    }
    for alike in kinds.values() {
        write(tx, alike).await?;
    }
    Ok(written)
}

fn under_cancellation(record: &Record, requested: bool) -> Cow<'_, Record> {
    if !requested {
        return Cow::Borrowed(record);
    }
    let transition = record.transition.clone().under_cancellation();
    Cow::Owned(Record {
        transition,
        ..record.clone()
    })
}

/// Those of the jobs that are running.
async fn lock(tx: &mut PgConnection, records: &[Record]) -> Result<HashMap<Uuid, Run>, Fault> {
    let ids: Vec<Uuid> = records.iter().map(|record| record.id.uuid()).collect();
    let running: Vec<(Uuid, i64, i32, String, bool)> = sqlx::query_as(
        "SELECT id, owner, epoch, kind, cancel_requested_at IS NOT NULL FROM longshore.live
         WHERE id = ANY ($1) AND state = 2 ORDER BY id FOR UPDATE",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?;
    let run = |(id, owner, epoch, kind, cancel_requested)| {
        let run = Run {
            fence: (owner, epoch),
            kind,
            cancel_requested,
        };
        (id, run)
    };
    Ok(running.into_iter().map(run).collect())
}

/// Writes endings of one kind to rows that are locked and fenced.
async fn write(tx: &mut PgConnection, alike: &[Ending<'_>]) -> Result<(), Fault> {
    let records = || alike.iter().map(|ending| &*ending.record);
    let ids: Vec<Uuid> = records().map(|record| record.id.uuid()).collect();
    match records().next().map(|record| &record.transition) {
        None => {}
        Some(Transition::Succeed { .. }) => {
            let records: Vec<Record> = records().cloned().collect();
            succeed(tx, &records).await?;
        }
        Some(Transition::HandBack) => {
            sqlx::query(HAND_BACK).bind(ids).execute(tx).await?;
        }
        Some(Transition::Retry { .. }) => fail(tx, RETRY, ids, alike).await?,
        Some(Transition::Postpone { .. }) => fail(tx, POSTPONE, ids, alike).await?,
        Some(Transition::Cancel { .. }) => fail(tx, CANCEL, ids, alike).await?,
        Some(Transition::Die { .. }) => fail(tx, DIE, ids, alike).await?,
    }
    Ok(())
}

/// Writes endings that may have an error. `$2` is when a retry is due, `$6` the fingerprint.
async fn fail(
    tx: &mut PgConnection,
    statement: &'static str,
    ids: Vec<Uuid>,
    alike: &[Ending<'_>],
) -> Result<(), Fault> {
    let error = |part: fn(&JobError) -> &str| -> Vec<Option<&str>> {
        let errors = alike.iter().map(|ending| ending.record.transition.error());
        errors.map(|error| error.map(part)).collect()
    };
    let delays: Vec<i64> = alike
        .iter()
        .map(|ending| micros(delay(&ending.record.transition)))
        .collect();
    let mut query = sqlx::query(statement)
        .bind(ids)
        .bind(delays)
        .bind(error(|error| &error.code))
        .bind(error(|error| &error.message))
        .bind(error(|error| error.class.as_str()));
    if statement == DIE {
        let print = |ending: &Ending<'_>| {
            let error = ending.record.transition.error()?;
            Some(fingerprint(&ending.kind, &error.code, &error.message))
        };
        query = query.bind(alike.iter().map(print).collect::<Vec<_>>());
    }
    query.execute(tx).await?;
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
        Transition::Succeed { .. }
        | Transition::Die { .. }
        | Transition::HandBack
        | Transition::Cancel { .. } => Duration::ZERO,
    }
}

// Rows are found by `id = ANY` or by a look-up that `OFFSET 0` keeps one: never by a join, which
// a plan made while `live` was nearly empty would do the wrong way round when it is not.

/// Rows go in the order of the index, so of their ids ([`HOT`](super::transaction::HOT) allows
/// no other way). `IS TRUE` keeps the fences a hash that is asked for each row, also for the
/// newest version of one that somebody else has just let go.
///
/// It is `prompt` what ended within 10 s of the millisecond in its id: see `prune.rs`.
const SUCCEED: &str = "
WITH ended AS (
    DELETE FROM longshore.live
    WHERE id = ANY ($1) AND state = 2
      AND ((id, owner, epoch)
           IN (SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::integer[]))) IS TRUE
    RETURNING *)
INSERT INTO longshore.done (id, kind, queue, state, dispatch, epoch, failures, recorded,
                            owner, started_at, finished_at, result, prompt)
SELECT e.id, e.kind, e.queue, 4, e.dispatch, e.epoch, e.failures, e.recorded, e.owner,
       e.started_at, now(), g.result,
       e.id >= (SELECT longshore.first_id(now() - interval '10 seconds'))
           AND e.id < (SELECT longshore.first_id(now() + interval '1 millisecond'))
FROM ended e
LEFT JOIN unnest($1::uuid[], $2::bigint[], $3::integer[], $4::bytea[])
    AS g (id, owner, epoch, result)
    ON g.id = e.id AND g.owner = e.owner AND g.epoch = e.epoch
RETURNING id, owner, epoch";

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
         INSERT INTO longshore.done (id, kind, queue, state, dispatch, epoch, failures, recorded,
                                     owner, started_at, finished_at,
                                     error_code, error_message, error_class, fingerprint)
         SELECT l.id, l.kind, l.queue, 5, l.dispatch, l.epoch, l.failures + 1, l.recorded,
                l.owner, l.started_at, now(), g.code, g.message, g.class, g.fingerprint
         FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
             AS g (id, after, code, message, class, fingerprint)
         CROSS JOIN LATERAL (SELECT * FROM longshore.live WHERE id = g.id OFFSET 0) l),
     last_attempt AS (",
    attempt!(),
    ") DELETE FROM longshore.live WHERE id = ANY ($1)"
);

/// A run that failed before it was stopped is an attempt; otherwise the job keeps the error
/// that it came with.
const CANCEL: &str = concat!(
    "WITH kept AS (
         INSERT INTO longshore.done (id, kind, queue, state, dispatch, epoch, failures, recorded,
                                     owner, started_at, finished_at,
                                     error_code, error_message, error_class)
         SELECT l.id, l.kind, l.queue, 6, l.dispatch, l.epoch,
                l.failures + (g.code IS NOT NULL)::integer, l.recorded, l.owner, l.started_at,
                now(), COALESCE(g.code, l.error_code), COALESCE(g.message, l.error_message),
                COALESCE(g.class, l.error_class)
         FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[])
             AS g (id, after, code, message, class)
         CROSS JOIN LATERAL (SELECT * FROM longshore.live WHERE id = g.id OFFSET 0) l),
     last_attempt AS (",
    attempt!(),
    " WHERE g.code IS NOT NULL
     ) DELETE FROM longshore.live WHERE id = ANY ($1)"
);
