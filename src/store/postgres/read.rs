use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::{PgConnection, QueryBuilder};
use uuid::Uuid;

use super::error::Fault;
use super::transaction::unsigned;
use super::{filter, progress, rows};
use crate::job::{AttemptView, JobId, JobView, Priority, State, waiting_for};
use crate::store::filter::Sieve;
use crate::store::{Counts, JobFilter, Page, Tally};

/// A job as both tables tell of it.
#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    state: i16,
    failures: i32,
    recorded: i32,
    due: Option<DateTime<Utc>>,
    worker: Option<String>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    result: Option<Vec<u8>>,
    error_code: Option<String>,
    error_message: Option<String>,
    error_class: Option<String>,
    fingerprint: Option<String>,
    cancel_requested: bool,
    kind: String,
    queue: String,
    payload: Vec<u8>,
    original_payload: Option<Vec<u8>>,
    edited_at: Option<DateTime<Utc>>,
    edited_by: Option<String>,
    high: bool,
    tags: Vec<String>,
    max_attempts: Option<i32>,
    created_at: DateTime<Utc>,
}

pub(super) async fn list(
    tx: &mut PgConnection,
    filter: &JobFilter,
    page: Page,
) -> Result<Vec<JobView>, Fault> {
    let Some(pattern) = filter.pattern().map_err(Fault::corrupt)? else {
        return whole_page(tx, filter, page).await;
    };
    let mut sieve = Sieve::new(pattern, page);
    while let Some(page) = sieve.next() {
        sieve.sift(whole_page(tx, filter, page).await?);
    }
    Ok(sieve.found)
}

async fn whole_page(
    tx: &mut PgConnection,
    filter: &JobFilter,
    page: Page,
) -> Result<Vec<JobView>, Fault> {
    let rows = rows(tx, filter, page).await?;
    let views: Result<Vec<JobView>, Fault> = rows.into_iter().map(Row::into_view).collect();
    let mut views = views?;
    progress::add(tx, &mut views).await?;
    Ok(views)
}

/// One statement, so that a job that moves from one table to the other meanwhile is in one.
async fn rows(tx: &mut PgConnection, filter: &JobFilter, page: Page) -> Result<Vec<Row>, Fault> {
    let tag = match filter.tags.is_empty() {
        true => None,
        false => filter::rarest_tag(tx, filter).await?,
    };
    let mut query = QueryBuilder::new("WITH x AS MATERIALIZED (");
    filter::push_page(&mut query, filter, tag.as_ref(), page);
    query.push(
        ") SELECT x.*, p.name AS worker, j.kind, j.queue, j.payload, j.high, j.tags,
                  j.max_attempts, j.created_at, j.original_payload, j.edited_at, j.edited_by
           FROM x CROSS JOIN LATERAL (SELECT * FROM longshore.job WHERE id = x.id OFFSET 0) j
           LEFT JOIN longshore.process p ON p.id = x.owner
           ORDER BY x.id DESC",
    );
    Ok(query.build_query_as().fetch_all(tx).await?)
}

impl Row {
    fn into_view(self) -> Result<JobView, Fault> {
        let id = self.id;
        let corrupt = |what: &str| Fault::corrupt(format!("{what} of job {id}"));
        let state = rows::state(self.state)?;
        let error = rows::error(self.error_code, self.error_message, self.error_class);
        // Numbered on over requeues, as the attempts on record are.
        let attempt = match state {
            State::Running | State::Succeeded => self.recorded + self.failures + 1,
            _ => self.recorded + self.failures,
        };
        let waiting_for = waiting_for(state, self.due, error.as_ref());
        let result = self
            .result
            .map(|bytes| json(bytes).ok_or_else(|| corrupt("the result")));
        let original = self
            .original_payload
            .map(|bytes| json(bytes).ok_or_else(|| corrupt("the original payload")));
        Ok(JobView {
            id: JobId::from(id),
            kind: self.kind.parse().map_err(Fault::corrupt)?,
            queue: self.queue.parse().map_err(Fault::corrupt)?,
            state,
            payload: json(self.payload).ok_or_else(|| corrupt("the payload"))?,
            original_payload: original.transpose()?,
            edited_at: self.edited_at,
            edited_by: self.edited_by,
            priority: Priority::from_high(self.high),
            tags: self.tags,
            attempt: unsigned(attempt),
            max_attempts: self.max_attempts.map(unsigned),
            run_at: self.due,
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            result: result.transpose()?,
            error,
            fingerprint: self.fingerprint,
            cancel_requested: self.cancel_requested,
            progress: None,
            attempts: None,
            waiting_for,
        })
    }

    /// The run that succeeded, which is no row of `attempt`.
    fn success(&self) -> Option<AttemptView> {
        (self.state == State::Succeeded.code()).then_some(())?;
        Some(AttemptView {
            number: unsigned(self.recorded + self.failures + 1),
            worker: self.worker.clone(),
            started_at: self.started_at,
            finished_at: self.finished_at?,
            outcome: "succeeded".to_owned(),
            error: None,
        })
    }
}

/// As it was given, byte for byte. What is no JSON is shown as a JSON string, so that one odd
/// job never hides a list.
fn json(bytes: Vec<u8>) -> Option<Box<RawValue>> {
    String::from_utf8(bytes)
        .map_err(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
        .and_then(|text| RawValue::from_string(text.clone()).map_err(|_| text))
        .or_else(|text| serde_json::value::to_raw_value(&text))
        .ok()
}

pub(super) async fn job(tx: &mut PgConnection, id: JobId) -> Result<Option<JobView>, Fault> {
    let only = JobFilter {
        ids: vec![id],
        ..JobFilter::default()
    };
    let page = Page {
        limit: 1,
        before: None,
    };
    let Some(row) = rows(tx, &only, page).await?.pop() else {
        return Ok(None);
    };
    // Read after the row: what is newer than the row is left out, so that both tell of the
    // same moment.
    let known = row.recorded + row.failures;
    let mut attempts = attempts(tx, id, known).await?;
    attempts.extend(row.success());
    let mut view = row.into_view()?;
    view.attempts = Some(attempts);
    progress::add(tx, std::slice::from_mut(&mut view)).await?;
    Ok(Some(view))
}

async fn attempts(tx: &mut PgConnection, id: JobId, known: i32) -> Result<Vec<AttemptView>, Fault> {
    #[derive(sqlx::FromRow)]
    struct Failed {
        number: i32,
        worker: Option<String>,
        started_at: Option<DateTime<Utc>>,
        finished_at: DateTime<Utc>,
        error_code: String,
        error_message: String,
        error_class: String,
    }
    let failed: Vec<Failed> = sqlx::query_as(
        "SELECT number, worker, started_at, finished_at, error_code, error_message, error_class
         FROM longshore.attempt WHERE id = $1 AND number <= $2 ORDER BY number",
    )
    .bind(id.uuid())
    .bind(known)
    .fetch_all(tx)
    .await?;
    let view = |failed: Failed| AttemptView {
        number: unsigned(failed.number),
        worker: failed.worker,
        started_at: failed.started_at,
        finished_at: failed.finished_at,
        outcome: "failed".to_owned(),
        error: rows::error(
            Some(failed.error_code),
            Some(failed.error_message),
            Some(failed.error_class),
        ),
    };
    Ok(failed.into_iter().map(view).collect())
}

/// Whatever is not live has come to its end, or never was.
pub(super) async fn finished(tx: &mut PgConnection, ids: &[JobId]) -> Result<Vec<JobId>, Fault> {
    let wanted: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let live: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM longshore.live WHERE id = ANY ($1)")
        .bind(wanted)
        .fetch_all(tx)
        .await?;
    let live: std::collections::HashSet<Uuid> = live.into_iter().collect();
    Ok(ids
        .iter()
        .copied()
        .filter(|id| !live.contains(&id.uuid()))
        .collect())
}

pub(super) async fn counts(tx: &mut PgConnection) -> Result<Vec<Counts>, Fault> {
    let counted: Vec<(String, i16, i64)> = sqlx::query_as(
        "SELECT queue, state, count(*) FROM longshore.live GROUP BY queue, state
         UNION ALL
         SELECT queue, state, count(*) FROM longshore.done GROUP BY queue, state",
    )
    .fetch_all(tx)
    .await?;
    let mut queues: BTreeMap<String, BTreeMap<State, u64>> = BTreeMap::new();
    for (queue, code, count) in counted {
        let states = queues.entry(queue).or_default();
        *states.entry(rows::state(code)?).or_default() += unsigned::<_, u64>(count);
    }
    Ok(queues
        .into_iter()
        .map(|(queue, states)| Counts { queue, states })
        .collect())
}

/// One statement, so one snapshot: a job that moves meanwhile is counted once.
pub(super) async fn tally(tx: &mut PgConnection) -> Result<Tally, Fault> {
    let (accepted, pruned, live, succeeded, dead, cancelled): (i64, i64, i64, i64, i64, i64) =
        sqlx::query_as(
            "SELECT (SELECT COALESCE(sum(accepted), 0)::bigint FROM longshore.tally)
                        + (SELECT COALESCE(sum(accepted), 0)::bigint FROM longshore.submitted),
                    (SELECT COALESCE(sum(pruned), 0)::bigint FROM longshore.tally),
                    (SELECT count(*) FROM longshore.live),
                    count(*) FILTER (WHERE state = 4), count(*) FILTER (WHERE state = 5),
                    count(*) FILTER (WHERE state = 6)
             FROM longshore.done",
        )
        .fetch_one(tx)
        .await?;
    Ok(Tally {
        accepted: unsigned(accepted),
        live: unsigned(live),
        succeeded: unsigned(succeeded),
        dead: unsigned(dead),
        cancelled: unsigned(cancelled),
        pruned: unsigned(pruned),
    })
}
