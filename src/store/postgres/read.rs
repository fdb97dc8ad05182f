use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::error::Fault;
use super::rows;
use super::transaction::unsigned;
use crate::job::{AttemptView, JobId, JobView, Priority, State, waiting_for};
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
    kind: String,
    queue: String,
    payload: Vec<u8>,
    high: bool,
    tags: Vec<String>,
    max_attempts: Option<i32>,
    created_at: DateTime<Utc>,
}

const LIVE: &str = "SELECT x.id, x.state, x.failures, x.recorded, x.due, x.owner, x.started_at,
    NULL::timestamptz AS finished_at, NULL::bytea AS result,
    x.error_code, x.error_message, x.error_class FROM longshore.live x WHERE true";
const DONE: &str =
    "SELECT x.id, x.state, x.failures, x.recorded, NULL::timestamptz AS due, x.owner,
    x.started_at, x.finished_at, x.result,
    x.error_code, x.error_message, x.error_class FROM longshore.done x WHERE true";

pub(super) async fn list(
    tx: &mut PgConnection,
    filter: &JobFilter,
    page: Page,
) -> Result<Vec<JobView>, Fault> {
    rows(tx, filter, page)
        .await?
        .into_iter()
        .map(Row::into_view)
        .collect()
}

/// One statement, so that a job that moves from one table to the other meanwhile is in one.
async fn rows(tx: &mut PgConnection, filter: &JobFilter, page: Page) -> Result<Vec<Row>, Fault> {
    let mut query = QueryBuilder::new("WITH x AS MATERIALIZED (");
    let arms = [(LIVE, false), (DONE, true)];
    for (n, (arm, finished)) in arms.into_iter().enumerate() {
        query
            .push(if n == 0 { "(" } else { " UNION ALL (" })
            .push(arm);
        push_states(&mut query, &filter.states, finished);
        push_filter(&mut query, filter);
        if let Some(before) = page.before {
            query.push(" AND x.id < ").push_bind(before.uuid());
        }
        query.push(" ORDER BY x.id DESC LIMIT ");
        query.push_bind(i64::from(page.limit)).push(")");
    }
    query.push(" ORDER BY id DESC LIMIT ");
    query.push_bind(i64::from(page.limit));
    query.push(
        ") SELECT x.*, p.name AS worker, j.kind, j.queue, j.payload, j.high, j.tags,
                  j.max_attempts, j.created_at
           FROM x CROSS JOIN LATERAL (SELECT * FROM longshore.job WHERE id = x.id OFFSET 0) j
           LEFT JOIN longshore.process p ON p.id = x.owner
           ORDER BY x.id DESC",
    );
    Ok(query.build_query_as().fetch_all(tx).await?)
}

/// Literals, so that the planner sees which partial index has them.
fn push_states(query: &mut QueryBuilder<Postgres>, states: &[State], finished: bool) {
    if states.is_empty() {
        return;
    }
    let here: Vec<String> = states
        .iter()
        .filter(|state| state.is_final() == finished)
        .map(|state| state.code().to_string())
        .collect();
    match here.as_slice() {
        [] => query.push(" AND false"),
        [only] => query.push(format_args!(" AND x.state = {only}")),
        several => query.push(format_args!(" AND x.state IN ({})", several.join(", "))),
    };
}

/// Everything but the states, of the row `x`.
pub(super) fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &JobFilter) {
    let names = || filter.queues.iter().map(|queue| queue.as_str().to_owned());
    match filter.queues.as_slice() {
        [] => {}
        [only] => {
            query
                .push(" AND x.queue = ")
                .push_bind(only.as_str().to_owned());
        }
        _ => {
            let names: Vec<String> = names().collect();
            query
                .push(" AND x.queue = ANY (")
                .push_bind(names)
                .push(")");
        }
    }
    if !filter.ids.is_empty() {
        let ids: Vec<Uuid> = filter.ids.iter().map(|id| id.uuid()).collect();
        query.push(" AND x.id = ANY (").push_bind(ids).push(")");
    }
    if let Some(code) = &filter.code {
        query.push(" AND x.error_code = ").push_bind(code.clone());
    }
    if let Some(kind) = &filter.kind {
        // A look-up for each row in order, which ends with the page; a join would not.
        query.push(" AND (SELECT j.kind FROM longshore.job j WHERE j.id = x.id) = ");
        query.push_bind(kind.as_str().to_owned());
    }
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
        Ok(JobView {
            id: JobId::from(id),
            kind: self.kind.parse().map_err(Fault::corrupt)?,
            queue: self.queue.parse().map_err(Fault::corrupt)?,
            state,
            payload: json(self.payload).ok_or_else(|| corrupt("the payload"))?,
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
            attempts: Vec::new(),
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
    view.attempts = attempts;
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
            "SELECT (SELECT COALESCE(sum(accepted), 0)::bigint FROM longshore.tally),
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
