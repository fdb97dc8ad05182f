use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;
use sqlx::types::Uuid;
use sqlx::{Sqlite, Transaction};

use super::{SqliteStore, clock, outbox, rows};
use crate::job::{JobId, State, Transition, fingerprint};
use crate::store::Record;

/// What a write must match: job, owner and epoch; the SQL adds `state = 2`.
type Fence = (JobId, i64, i32);

/// The fence in SQL, for a `job` beside a record `r`. The unary `+` keeps the planner from
/// walking all that runs once for each record; the id is the only way in.
macro_rules! holds {
    () => {
        " job.id = unhex(r.value ->> 'id') AND +job.owner = r.value ->> 'owner'
          AND +job.epoch = r.value ->> 'epoch' AND +job.state = 2"
    };
}

/// `?1` ends, `?2` now.
pub(super) const KEEP_ATTEMPTS: &str = concat!(
    "INSERT INTO attempt (job, number, worker, started_at, finished_at,
                          error_code, error_message, error_class)
     SELECT job.id,
            1 + coalesce((SELECT max(a.number) FROM attempt AS a WHERE a.job = job.id), 0),
            (SELECT name FROM process WHERE process.id = job.owner), job.started_at, ?2,
            r.value ->> 'code', r.value ->> 'message', r.value ->> 'class'
     FROM json_each(?1) AS r CROSS JOIN job
     WHERE r.value ->> 'counts' AND",
    holds!()
);

/// `?1` ends, `?2` now. A hand-back (to `queued`, 1) keeps the error and the postponement that
/// the job came with; so does a cancellation (6) without an error of its own.
pub(super) const MOVE: &str = concat!(
    "UPDATE job SET
        state = r.value ->> 'state',
        failures = failures + (r.value ->> 'counts'),
        due = r.value ->> 'due',
        finished_at = r.value ->> 'finished',
        result = r.value ->> 'result',
        error_code = iif(r.value ->> 'keeps', error_code, r.value ->> 'code'),
        error_message = iif(r.value ->> 'keeps', error_message, r.value ->> 'message'),
        error_class = iif(r.value ->> 'keeps', error_class, r.value ->> 'class'),
        fingerprint = r.value ->> 'fingerprint',
        queued_at = iif(r.value ->> 'state' = 1, ?2, queued_at),
        postponed_since = CASE WHEN r.value ->> 'state' = 1 THEN postponed_since
                               WHEN r.value ->> 'postponed' THEN coalesce(postponed_since, ?2)
                          END
     FROM json_each(?1) AS r WHERE",
    holds!(),
    " RETURNING id, owner, epoch, dispatch"
);

pub(super) async fn record(store: &SqliteStore, records: &[Record]) -> sqlx::Result<Vec<bool>> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let (mut tx, now) = store.write().await?;
    let answers = write(&mut tx, now, records).await?;
    tx.commit().await?;
    Ok(answers)
}

/// Writes ends of runs inside a transaction.
pub(super) async fn write(
    tx: &mut Transaction<'static, Sqlite>,
    now: i64,
    records: &[Record],
) -> sqlx::Result<Vec<bool>> {
    // Of two records of one run the first counts: an UPDATE would pick either of them.
    let mut fences = HashSet::new();
    let runs = runs(tx, records).await?;
    // A row that is gone has no fence that could hold.
    let effective: Vec<(Record, &str)> = records
        .iter()
        .filter(|record| fences.insert(fence(record)))
        .filter_map(|record| {
            let run = runs.get(&record.id)?;
            Some((run.ended_by(record), run.kind.as_str()))
        })
        .collect();
    let ends: Vec<End<'_>> = effective
        .iter()
        .map(|(record, kind)| End::of(record, kind, now))
        .collect::<sqlx::Result<_>>()?;
    let ends_json = rows::batch(&ends)?;
    if ends.iter().any(|end| end.counts) {
        // Before the jobs move: the fence still holds.
        keep_attempts(tx, &ends_json, now).await?;
    }
    let mut written = move_jobs(tx, &ends_json, now).await?;
    let handed_back: Vec<(JobId, i32)> = effective
        .iter()
        .filter(|(record, _)| record.transition == Transition::HandBack)
        .filter_map(|(record, _)| Some((record.id, *written.get(&fence(record))?)))
        .collect();
    let answers: Vec<Option<i32>> = records
        .iter()
        .map(|record| written.remove(&fence(record)))
        .collect();
    if !handed_back.is_empty() {
        outbox::enter(tx, now, Duration::ZERO, true, &handed_back).await?;
    }
    Ok(answers.iter().map(Option::is_some).collect())
}

fn fence(record: &Record) -> Fence {
    (record.id, record.owner.0, record.epoch)
}

/// What an end depends on besides its run.
struct Run {
    kind: String,
    cancel_requested: bool,
}

impl Run {
    fn ended_by(&self, record: &Record) -> Record {
        let mut record = record.clone();
        if self.cancel_requested {
            record.transition = record.transition.under_cancellation();
        }
        record
    }
}

async fn runs(
    tx: &mut Transaction<'static, Sqlite>,
    records: &[Record],
) -> sqlx::Result<HashMap<JobId, Run>> {
    let found: Vec<(Uuid, String, bool)> = sqlx::query_as(
        "SELECT id, kind, cancel_requested_at IS NOT NULL FROM job
         WHERE id IN (SELECT unhex(value) FROM json_each(?1)) AND +state = 2",
    )
    .bind(rows::id_batch(records.iter().map(|record| record.id))?)
    .fetch_all(&mut **tx)
    .await?;
    let run = |(id, kind, cancel_requested)| {
        let run = Run {
            kind,
            cancel_requested,
        };
        (JobId::from(id), run)
    };
    Ok(found.into_iter().map(run).collect())
}

/// The end of a run, as the database takes it.
#[derive(Serialize)]
struct End<'a> {
    id: String,
    owner: i64,
    epoch: i32,
    state: i16,
    /// A failure that counts and is kept as an attempt.
    counts: bool,
    /// Put off without counting.
    postponed: bool,
    due: Option<i64>,
    finished: Option<i64>,
    code: Option<&'a str>,
    message: Option<&'a str>,
    class: Option<&'a str>,
    result: Option<String>,
    /// The job keeps the error that it came with.
    keeps: bool,
    fingerprint: Option<String>,
}

impl<'a> End<'a> {
    fn of(record: &'a Record, kind: &str, now: i64) -> sqlx::Result<Self> {
        let transition = &record.transition;
        let state = transition.target();
        let due = match transition {
            Transition::Retry { after, .. } | Transition::Postpone { after, .. } => {
                Some(clock::after(now, *after))
            }
            _ => None,
        };
        let result = match transition {
            Transition::Succeed { result } => result.as_ref(),
            _ => None,
        };
        let error = transition.error();
        Ok(Self {
            id: rows::hex(record.id),
            owner: record.owner.0,
            epoch: record.epoch,
            state: state.code(),
            counts: match transition {
                Transition::Retry { .. } | Transition::Die { .. } => true,
                Transition::Cancel { failure } => failure.is_some(),
                _ => false,
            },
            postponed: matches!(transition, Transition::Postpone { .. }),
            due,
            finished: state.is_final().then_some(now),
            code: error.map(|error| error.code.as_str()),
            message: error.map(|error| error.message.as_str()),
            class: error.map(|error| error.class.as_str()),
            result: result
                .map(serde_json::to_string)
                .transpose()
                .map_err(|error| sqlx::Error::Encode(error.into()))?,
            keeps: match transition {
                Transition::HandBack => true,
                Transition::Cancel { failure } => failure.is_none(),
                _ => false,
            },
            fingerprint: error
                .filter(|_| state == State::Dead)
                .map(|error| fingerprint(kind, &error.code, &error.message)),
        })
    }
}

async fn keep_attempts(
    tx: &mut Transaction<'static, Sqlite>,
    ends: &str,
    now: i64,
) -> sqlx::Result<()> {
    sqlx::query(KEEP_ATTEMPTS)
        .bind(ends)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Moves the jobs whose fence holds; returns the dispatch of each.
async fn move_jobs(
    tx: &mut Transaction<'static, Sqlite>,
    ends: &str,
    now: i64,
) -> sqlx::Result<HashMap<Fence, i32>> {
    let moved: Vec<(Uuid, i64, i32, i32)> = sqlx::query_as(MOVE)
        .bind(ends)
        .bind(now)
        .fetch_all(&mut **tx)
        .await?;
    Ok(moved
        .into_iter()
        .map(|(id, owner, epoch, dispatch)| ((id.into(), owner, epoch), dispatch))
        .collect())
}
