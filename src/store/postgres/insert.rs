use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Fault;
use super::keys;
use super::rows::state;
use super::transaction::micros;
use crate::job::{Kind, NewJob, ProcessId, Start, fingerprint};
use crate::store::{DeadLetter, Inserted, Insertion, OutboxId, ReusedKeys};

/// The kind that a dead letter is listed under when it named none that could be one.
const UNKNOWN_KIND: &str = "unknown";

/// What is known of the ids of new jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// Made just now: whichever is there already ends the transaction with a unique violation.
    /// Looking for each beforehand, and confirming each afterwards, is a fifth of an insert.
    Fresh,
    /// Some may be there already, and are answered as replayed.
    PerhapsTaken,
}

/// What one insert of jobs wrote.
struct Written {
    accepted: HashMap<Uuid, Inserted>,
    outbox: Option<OutboxId>,
}

/// Keys first: they decide which jobs are new. A key or an id that another transaction is just
/// inserting is waited for by its index, so there is no gap between looking and inserting.
pub(super) async fn insert(
    tx: &mut PgConnection,
    process: ProcessId,
    jobs: &[NewJob],
    lease: Duration,
    ids: Ids,
) -> Result<Insertion, Fault> {
    let answers = keys::replays(tx, jobs).await?;
    insert_new(tx, process, jobs, answers, lease, ids).await
}

/// Inserts the jobs that have no answer yet.
async fn insert_new(
    tx: &mut PgConnection,
    process: ProcessId,
    jobs: &[NewJob],
    mut answers: Vec<Option<Inserted>>,
    lease: Duration,
    ids: Ids,
) -> Result<Insertion, Fault> {
    let mut seen = HashSet::new();
    let fresh: Vec<&NewJob> = jobs
        .iter()
        .zip(&answers)
        .filter(|(job, answer)| answer.is_none() && seen.insert(job.id))
        .map(|(job, _)| job)
        .collect();
    let mut written = write(tx, process, &fresh, lease, ids).await?;
    let mut settled = Vec::with_capacity(jobs.len());
    for (job, answer) in jobs.iter().zip(&mut answers) {
        let replayed = Inserted::Replayed { id: job.id };
        settled.push(match answer.take() {
            Some(answer) => answer,
            // The second job with the same id finds its answer taken.
            None => written.accepted.remove(&job.id.uuid()).unwrap_or(replayed),
        });
    }
    Ok(Insertion {
        jobs: settled,
        outbox: written.outbox,
    })
}

/// The savepoint takes back the keys that were taken before one turned out to be another's.
pub(super) async fn insert_all(
    tx: &mut PgConnection,
    process: ProcessId,
    jobs: &[NewJob],
    lease: Duration,
    ids: Ids,
) -> Result<Result<Insertion, ReusedKeys>, Fault> {
    sqlx::raw_sql("SAVEPOINT keys").execute(&mut *tx).await?;
    let answers = keys::replays(tx, jobs).await?;
    let reused: ReusedKeys = answers
        .iter()
        .enumerate()
        .filter_map(|(at, answer)| Some((at, answer.as_ref()?.reused_key()?)))
        .collect();
    if !reused.is_empty() {
        let back = "ROLLBACK TO SAVEPOINT keys";
        sqlx::raw_sql(back).execute(&mut *tx).await?;
        return Ok(Err(reused));
    }
    let inserted = insert_new(tx, process, jobs, answers, lease, ids).await;
    inserted.map(Ok)
}

/// Inserts those of `jobs` whose ids are new, with their outbox row and their count.
async fn write(
    tx: &mut PgConnection,
    process: ProcessId,
    jobs: &[&NewJob],
    lease: Duration,
    ids: Ids,
) -> Result<Written, Fault> {
    if jobs.is_empty() {
        return Ok(Written {
            accepted: HashMap::new(),
            outbox: None,
        });
    }
    let column = Columns::of(jobs);
    let rows: Vec<(Uuid, i16, DateTime<Utc>, Option<i64>)> = sqlx::query_as(match ids {
        Ids::Fresh => INSERT_FRESH,
        Ids::PerhapsTaken => INSERT,
    })
    .bind(column.id)
    .bind(column.kind)
    .bind(column.queue)
    .bind(column.payload)
    .bind(column.high)
    .bind(column.tags)
    .bind(column.max_attempts)
    .bind(column.at)
    .bind(column.after)
    .bind(column.traceparent)
    .bind(process.0)
    .bind(micros(lease))
    .fetch_all(tx)
    .await?;
    let outbox = rows.first().and_then(|row| row.3).map(OutboxId);
    let accepted = rows
        .into_iter()
        .map(|(id, code, created_at, _)| {
            let state = state(code)?;
            Ok((id, Inserted::Accepted { created_at, state }))
        })
        .collect::<Result<_, Fault>>()?;
    Ok(Written { accepted, outbox })
}

/// Which of its process's rows of the tally a batch counts in: one by connection, so that the
/// batches of one process do not wait for each other's commits, and another one every 30 s, for an
/// hour. While an idle transaction somewhere keeps what has died, a batch reads all versions of
/// its row: so there are never more than half a minute has made, and not one for every batch since.
macro_rules! slot {
    () => {
        "pg_backend_pid() % 16 + 16 * (extract(epoch FROM now())::bigint / 30 % 120)"
    };
}

/// The tally's row is locked last.
macro_rules! insert {
    ($on_conflict:literal) => {
        concat!(
            "
WITH given AS (
    SELECT id, kind, queue, payload, high, tags::text[] AS tags, max_attempts, traceparent,
           COALESCE(at, now() + after * interval '1 microsecond') AS run_at
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::boolean[], $6::text[],
                $7::integer[], $8::timestamptz[], $9::bigint[], $10::text[])
         AS given (id, kind, queue, payload, high, tags, max_attempts, at, after, traceparent)),
new AS (
    INSERT INTO longshore.job
        (id, kind, queue, payload, high, tags, max_attempts, run_at, traceparent, created_at)
    SELECT id, kind, queue, payload, high, tags, max_attempts, run_at, traceparent, now()
    FROM given ORDER BY id ",
            $on_conflict,
            "
    RETURNING id, kind, queue, max_attempts, CASE WHEN run_at > now() THEN run_at END AS due),
entered AS (
    INSERT INTO longshore.live
        (id, kind, queue, state, dispatch, due, queued_at, max_attempts, created_at)
    SELECT id, kind, queue, CASE WHEN due IS NULL THEN 1 ELSE 0 END,
           CASE WHEN due IS NULL THEN 1 ELSE 0 END, due,
           CASE WHEN due IS NULL THEN now() END, max_attempts, now()
    FROM new
    RETURNING id, state, dispatch),
boxed AS (
    INSERT INTO longshore.outbox (available_at, created_at, high, jobs, dispatches)
    SELECT now() + $12 * interval '1 microsecond', now(), false,
           array_agg(id ORDER BY id), array_agg(dispatch ORDER BY id)
    FROM entered WHERE state = 1 HAVING count(*) > 0
    RETURNING id),
counted AS (
    INSERT INTO longshore.tally AS t (process, slot, accepted)
    SELECT $11, ",
            slot!(),
            ", count(*) FROM entered HAVING count(*) > 0
    ON CONFLICT (process, slot) DO UPDATE SET accepted = t.accepted + excluded.accepted)
SELECT id, state, now(), (SELECT id FROM boxed) FROM entered"
        )
    };
}
const INSERT_FRESH: &str = insert!("");
const INSERT: &str = insert!("ON CONFLICT (id) DO NOTHING");

/// A batch of jobs as one array for each column.
struct Columns<'a> {
    id: Vec<Uuid>,
    kind: Vec<&'a str>,
    queue: Vec<&'a str>,
    payload: Vec<&'a [u8]>,
    high: Vec<bool>,
    tags: Vec<String>,
    max_attempts: Vec<Option<i32>>,
    at: Vec<Option<DateTime<Utc>>>,
    after: Vec<Option<i64>>,
    traceparent: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(jobs: &[&'a NewJob]) -> Self {
        let each = || jobs.iter();
        Self {
            id: each().map(|job| job.id.uuid()).collect(),
            kind: each().map(|job| job.kind.as_str()).collect(),
            queue: each().map(|job| job.queue.as_str()).collect(),
            payload: each().map(|job| job.payload.as_ref()).collect(),
            high: each().map(|job| job.priority.is_high()).collect(),
            tags: each().map(|job| array_literal(&job.tags)).collect(),
            max_attempts: each().map(|job| job.max_attempts.map(signed)).collect(),
            at: each()
                .map(|job| match job.start {
                    Start::At(moment) => Some(moment),
                    Start::Now | Start::After(_) => None,
                })
                .collect(),
            after: each()
                .map(|job| match job.start {
                    Start::After(delay) => Some(micros(delay)),
                    Start::Now | Start::At(_) => None,
                })
                .collect(),
            traceparent: each().map(|job| job.traceparent.as_deref()).collect(),
        }
    }
}

/// A limit past what a column holds is none that a job could reach.
fn signed(limit: u32) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

/// PostgreSQL's text form of an array: `unnest` cannot take arrays of different lengths.
fn array_literal(items: &[String]) -> String {
    let quoted = |item: &String| {
        let escaped = item.replace('\\', r"\\").replace('"', r#"\""#);
        format!("\"{escaped}\"")
    };
    let items: Vec<String> = items.iter().map(quoted).collect();
    format!("{{{}}}", items.join(","))
}

pub(super) async fn insert_dead(
    tx: &mut PgConnection,
    process: ProcessId,
    letters: &[DeadLetter],
) -> Result<(), Fault> {
    let keyed = letters
        .iter()
        .filter_map(|l| Some((l.id, l.unique.as_ref()?)));
    let free = keys::take_free(tx, keyed.collect()).await?;
    let mut ids = HashSet::new();
    let new: Vec<&DeadLetter> = letters
        .iter()
        .filter(|letter| letter.unique.is_none() || free.contains(&letter.id))
        .filter(|letter| ids.insert(letter.id))
        .collect();
    let each = || new.iter();
    let kind = |letter: &&&DeadLetter| {
        letter
            .kind
            .parse::<Kind>()
            .map_or_else(|_| UNKNOWN_KIND.to_owned(), String::from)
    };
    sqlx::query(INSERT_DEAD)
        .bind(each().map(|letter| letter.id.uuid()).collect::<Vec<_>>())
        .bind(each().map(|letter| kind(&letter)).collect::<Vec<_>>())
        .bind(
            each()
                .map(|letter| letter.queue.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(each().map(|letter| &letter.payload[..]).collect::<Vec<_>>())
        .bind(
            each()
                .map(|letter| &letter.error.code[..])
                .collect::<Vec<_>>(),
        )
        .bind(
            each()
                .map(|letter| &letter.error.message[..])
                .collect::<Vec<_>>(),
        )
        .bind(
            each()
                .map(|letter| letter.error.class.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(process.0)
        .bind(
            each()
                .map(|letter| {
                    fingerprint(&kind(&letter), &letter.error.code, &letter.error.message)
                })
                .collect::<Vec<_>>(),
        )
        .execute(tx)
        .await?;
    Ok(())
}

/// Dispatch 0: no message of theirs is one that the store sent.
const INSERT_DEAD: &str = concat!(
    "
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[],
                         $7::text[], $9::text[])
         AS given (id, kind, queue, payload, code, message, class, fingerprint)),
new AS (
    INSERT INTO longshore.job (id, kind, queue, payload, high, tags, created_at)
    SELECT id, kind, queue, payload, false, '{}', now() FROM given ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING id),
entered AS (
    INSERT INTO longshore.done (id, kind, queue, state, dispatch, epoch, failures, recorded,
                                finished_at, error_code, error_message, error_class, fingerprint)
    SELECT id, kind, queue, 5, 0, 0, 0, 0, now(), code, message, class, fingerprint
    FROM given JOIN new USING (id)
    RETURNING id)
INSERT INTO longshore.tally AS t (process, slot, accepted)
SELECT $8, ",
    slot!(),
    ", count(*) FROM entered HAVING count(*) > 0
ON CONFLICT (process, slot) DO UPDATE SET accepted = t.accepted + excluded.accepted"
);

#[cfg(test)]
mod tests {
    use super::array_literal;

    #[test]
    fn array_literals_quote_everything() {
        let tags = ["a", r#"b"c"#, r"d\", "e,{}", "", "NULL"].map(str::to_owned);
        assert_eq!(
            array_literal(&tags),
            r#"{"a","b\"c","d\\","e,{}","","NULL"}"#
        );
        assert_eq!(array_literal(&[]), "{}");
    }
}
