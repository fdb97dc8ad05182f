use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;
use sqlx::types::Uuid;
use sqlx::{Sqlite, Transaction};

use super::{SqliteStore, clock, outbox, rows};
use crate::job::{JobId, Transition};
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
/// the job came with.
pub(super) const MOVE: &str = concat!(
    "UPDATE job SET
        state = r.value ->> 'state',
        failures = failures + (r.value ->> 'counts'),
        due = r.value ->> 'due',
        finished_at = r.value ->> 'finished',
        result = r.value ->> 'result',
        error_code = iif(r.value ->> 'state' = 1, error_code, r.value ->> 'code'),
        error_message = iif(r.value ->> 'state' = 1, error_message, r.value ->> 'message'),
        error_class = iif(r.value ->> 'state' = 1, error_class, r.value ->> 'class'),
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
    // Of two records of one run the first counts: an UPDATE would pick either of them.
    let mut fences = HashSet::new();
    let ends: Vec<End<'_>> = records
        .iter()
        .filter(|record| fences.insert(fence(record)))
        .map(|record| End::of(record, now))
        .collect::<sqlx::Result<_>>()?;
    let ends_json = rows::batch(&ends)?;
    if ends.iter().any(|end| end.counts) {
        // Before the jobs move: the fence still holds.
        keep_attempts(&mut tx, &ends_json, now).await?;
    }
    let mut written = move_jobs(&mut tx, &ends_json, now).await?;
    let answers: Vec<Option<i32>> = records
        .iter()
        .map(|record| written.remove(&fence(record)))
        .collect();
    let handed_back: Vec<(JobId, i32)> = answers
        .iter()
        .zip(records)
        .filter(|(_, record)| record.transition == Transition::HandBack)
        .filter_map(|(dispatch, record)| Some((record.id, (*dispatch)?)))
        .collect();
    if !handed_back.is_empty() {
        outbox::enter(&mut tx, now, Duration::ZERO, true, &handed_back).await?;
    }
    tx.commit().await?;
    Ok(answers.iter().map(Option::is_some).collect())
}

fn fence(record: &Record) -> Fence {
    (record.id, record.owner.0, record.epoch)
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
}

impl<'a> End<'a> {
    fn of(record: &'a Record, now: i64) -> sqlx::Result<Self> {
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
            counts: matches!(
                transition,
                Transition::Retry { .. } | Transition::Die { .. }
            ),
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
