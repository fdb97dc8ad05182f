use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sqlx::types::{Json, Uuid};
use sqlx::{QueryBuilder, Sqlite};

use super::{SqliteStore, clock, rows};
use crate::job::{AttemptView, JobId, JobView, Priority, ProgressView, State, waiting_for};
use crate::store::filter::Sieve;
use crate::store::{Counts, JobFilter, Page, Tally};

// `recorded` numbers on over requeues, as the attempts on record are.
const VIEW: &str = "SELECT id, kind, queue, state, payload, high, tags,
    (SELECT coalesce(max(number), 0) FROM attempt WHERE attempt.job = job.id) AS recorded,
    max_attempts,
    due, created_at, started_at, finished_at, result, error_code, error_message, error_class,
    original_payload, edited_at, edited_by, fingerprint,
    state = 2 AND cancel_requested_at IS NOT NULL AS cancel_requested,
    (SELECT json_array(p.fraction, p.message, p.at) FROM progress AS p
     WHERE p.id = job.id AND p.owner = job.owner AND p.epoch = job.epoch AND job.state = 2)
        AS progress
    FROM job WHERE true";

#[derive(sqlx::FromRow)]
struct ViewRow {
    id: Uuid,
    kind: String,
    queue: String,
    state: i16,
    payload: Vec<u8>,
    high: bool,
    tags: Json<Vec<String>>,
    recorded: u32,
    max_attempts: Option<u32>,
    due: Option<i64>,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    result: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    error_class: Option<String>,
    original_payload: Option<Vec<u8>>,
    edited_at: Option<i64>,
    edited_by: Option<String>,
    fingerprint: Option<String>,
    cancel_requested: bool,
    progress: Option<Json<(f64, String, i64)>>,
}

impl TryFrom<ViewRow> for JobView {
    type Error = sqlx::Error;

    fn try_from(row: ViewRow) -> sqlx::Result<Self> {
        let moment = |at: Option<i64>| at.map(clock::moment).transpose();
        let state = rows::state(row.state)?;
        let due = moment(row.due)?;
        let error = rows::job_error(row.error_code, row.error_message, row.error_class);
        let in_a_run = matches!(state, State::Running | State::Succeeded);
        Ok(Self {
            id: row.id.into(),
            kind: row.kind.parse().map_err(rows::corrupt)?,
            queue: row.queue.parse().map_err(rows::corrupt)?,
            state,
            payload: json(row.payload)?,
            original_payload: row.original_payload.map(json).transpose()?,
            edited_at: moment(row.edited_at)?,
            edited_by: row.edited_by,
            priority: Priority::from_high(row.high),
            tags: row.tags.0,
            attempt: row.recorded + u32::from(in_a_run),
            max_attempts: row.max_attempts,
            run_at: due,
            created_at: clock::moment(row.created_at)?,
            started_at: moment(row.started_at)?,
            finished_at: moment(row.finished_at)?,
            result: row.result.map(|text| json(text.into_bytes())).transpose()?,
            waiting_for: waiting_for(state, due, error.as_ref()),
            error,
            fingerprint: row.fingerprint,
            cancel_requested: row.cancel_requested,
            progress: row.progress.map(progress).transpose()?,
            attempts: None,
        })
    }
}

fn progress(stored: Json<(f64, String, i64)>) -> sqlx::Result<ProgressView> {
    let Json((fraction, message, at)) = stored;
    Ok(ProgressView {
        fraction,
        message,
        at: clock::moment(at)?,
    })
}

/// Stored JSON. What is none is shown as a JSON string, so that one odd job never hides a list.
fn json(stored: Vec<u8>) -> sqlx::Result<Box<RawValue>> {
    String::from_utf8(stored)
        .map_err(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
        .and_then(|text| RawValue::from_string(text.clone()).map_err(|_| text))
        .or_else(|text| serde_json::value::to_raw_value(&text))
        .map_err(rows::corrupt)
}

pub(super) async fn job(store: &SqliteStore, id: JobId) -> sqlx::Result<Option<JobView>> {
    let mut tx = store.read().await?;
    let row: Option<ViewRow> = QueryBuilder::new(VIEW)
        .push(" AND id = ")
        .push_bind(id.uuid())
        .build_query_as()
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let mut view = JobView::try_from(row)?;
    let failed: Vec<AttemptRow> = sqlx::query_as(
        "SELECT number, worker, started_at, finished_at, error_code, error_message, error_class
         FROM attempt WHERE job = ?1
         UNION ALL
         SELECT 1 + coalesce((SELECT max(number) FROM attempt WHERE job = ?1), 0),
                (SELECT name FROM process WHERE process.id = job.owner),
                started_at, finished_at, NULL, NULL, NULL
         FROM job WHERE id = ?1 AND state = 4
         ORDER BY 1",
    )
    .bind(id.uuid())
    .fetch_all(&mut *tx)
    .await?;
    let attempts: sqlx::Result<_> = failed.into_iter().map(AttemptView::try_from).collect();
    view.attempts = Some(attempts?);
    Ok(Some(view))
}

#[derive(sqlx::FromRow)]
struct AttemptRow {
    number: u32,
    worker: Option<String>,
    started_at: Option<i64>,
    finished_at: i64,
    error_code: Option<String>,
    error_message: Option<String>,
    error_class: Option<String>,
}

impl TryFrom<AttemptRow> for AttemptView {
    type Error = sqlx::Error;

    fn try_from(row: AttemptRow) -> sqlx::Result<Self> {
        let error = rows::job_error(row.error_code, row.error_message, row.error_class);
        let outcome = if error.is_none() {
            "succeeded"
        } else {
            "failed"
        };
        Ok(Self {
            number: row.number,
            worker: row.worker,
            started_at: row.started_at.map(clock::moment).transpose()?,
            finished_at: clock::moment(row.finished_at)?,
            outcome: outcome.to_owned(),
            error,
        })
    }
}

pub(super) async fn finished(store: &SqliteStore, ids: &[JobId]) -> sqlx::Result<Vec<JobId>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "SELECT unhex(r.value) FROM json_each(?1) AS r
         WHERE NOT EXISTS (SELECT 1 FROM job
                           WHERE job.id = unhex(r.value) AND job.state IN (0, 1, 2, 3))",
    )
    .bind(rows::id_batch(ids.iter().copied())?)
    .fetch_all(&store.readers)
    .await?;
    Ok(rows.into_iter().map(JobId::from).collect())
}

pub(super) async fn list(
    store: &SqliteStore,
    filter: &JobFilter,
    page: Page,
) -> sqlx::Result<Vec<JobView>> {
    let Some(pattern) = filter.pattern().map_err(rows::corrupt)? else {
        return whole_page(store, filter, page).await;
    };
    let mut sieve = Sieve::new(pattern, page);
    while let Some(page) = sieve.next() {
        sieve.sift(whole_page(store, filter, page).await?);
    }
    Ok(sieve.found)
}

async fn whole_page(
    store: &SqliteStore,
    filter: &JobFilter,
    page: Page,
) -> sqlx::Result<Vec<JobView>> {
    let mut query = QueryBuilder::new(VIEW);
    // Ids are sorted and cut first, in an index; only a page's rows are read whole.
    query.push(" AND id IN (SELECT id FROM job WHERE true");
    matching(&mut query, filter)?;
    if let Some(before) = page.before {
        query.push(" AND id < ").push_bind(before.uuid());
    }
    query
        .push(" ORDER BY id DESC LIMIT ")
        .push_bind(page.limit)
        .push(") ORDER BY id DESC");
    let rows: Vec<ViewRow> = query.build_query_as().fetch_all(&store.readers).await?;
    rows.into_iter().map(JobView::try_from).collect()
}

/// Appends the parts of a filter that are given, each with `AND` in front.
pub(super) fn matching(query: &mut QueryBuilder<Sqlite>, filter: &JobFilter) -> sqlx::Result<()> {
    if !filter.states.is_empty() {
        let codes: Vec<i16> = filter.states.iter().map(|state| state.code()).collect();
        one_of(query, "state", "value", rows::batch(&codes)?);
    }
    if !filter.queues.is_empty() {
        one_of(query, "queue", "value", rows::batch(&filter.queues)?);
    }
    if !filter.ids.is_empty() {
        let ids = rows::id_batch(filter.ids.iter().copied())?;
        one_of(query, "id", "unhex(value)", ids);
    }
    if !filter.kinds.is_empty() {
        one_of(query, "kind", "value", rows::batch(&filter.kinds)?);
    }
    for tag in &filter.tags {
        query
            .push(" AND EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ")
            .push_bind(tag.clone())
            .push(")");
    }
    if let Some(code) = &filter.code {
        query.push(" AND error_code = ").push_bind(code.clone());
    }
    if let Some(fingerprint) = &filter.fingerprint {
        query.push(" AND fingerprint = ");
        query.push_bind(fingerprint.clone());
    }
    if let Some(text) = &filter.error {
        query
            .push(" AND instr(lower(error_code || ': ' || error_message), ")
            .push_bind(text.to_ascii_lowercase())
            .push(") > 0");
    }
    if let Some(since) = filter.since {
        query
            .push(" AND created_at >= ")
            .push_bind(since.timestamp_micros());
    }
    if let Some(until) = filter.until {
        query
            .push(" AND created_at < ")
            .push_bind(until.timestamp_micros());
    }
    Ok(())
}

fn one_of(query: &mut QueryBuilder<Sqlite>, column: &str, value: &str, list: String) {
    query
        .push(format_args!(
            " AND {column} IN (SELECT {value} FROM json_each("
        ))
        .push_bind(list)
        .push("))");
}

pub(super) async fn counts(store: &SqliteStore) -> sqlx::Result<Vec<Counts>> {
    let rows: Vec<(String, i16, i64)> =
        sqlx::query_as("SELECT queue, state, count(*) FROM job GROUP BY state, queue")
            .fetch_all(&store.readers)
            .await?;
    let mut queues: BTreeMap<String, BTreeMap<State, u64>> = BTreeMap::new();
    for (queue, code, count) in rows {
        let states = queues.entry(queue).or_default();
        states.insert(rows::state(code)?, count.unsigned_abs());
    }
    let counts = |(queue, states)| Counts { queue, states };
    Ok(queues.into_iter().map(counts).collect())
}

/// One statement is one snapshot.
pub(super) async fn tally(store: &SqliteStore) -> sqlx::Result<Tally> {
    let (accepted, pruned, live, succeeded, dead, cancelled): (i64, i64, i64, i64, i64, i64) =
        sqlx::query_as(
            "SELECT (SELECT coalesce(sum(accepted), 0) FROM tally),
                    (SELECT coalesce(sum(pruned), 0) FROM tally),
                    count(*) FILTER (WHERE state IN (0, 1, 2, 3)),
                    count(*) FILTER (WHERE state = 4),
                    count(*) FILTER (WHERE state = 5),
                    count(*) FILTER (WHERE state = 6)
             FROM job",
        )
        .fetch_one(&store.readers)
        .await?;
    Ok(Tally {
        accepted: accepted.unsigned_abs(),
        live: live.unsigned_abs(),
        succeeded: succeeded.unsigned_abs(),
        dead: dead.unsigned_abs(),
        cancelled: cancelled.unsigned_abs(),
        pruned: pruned.unsigned_abs(),
    })
}
