//! A filter as SQL.
//!
//! A list is made of arms, one for each place and state that a job may be in, each read newest
//! first from the one index that fits and cut at the page's length. So the planner never has to
//! guess whether a rare value is worth an index: the state is a literal, which names the partial
//! index, and every index ends with the id, in whose order the arm is read. The finished of a
//! queue or a kind are read by [`lanes`](super::lanes).

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::error::Fault;
use super::lanes;
use crate::job::State;
use crate::store::{JobFilter, Page};

const LIVE: &str = "SELECT x.id, x.state, x.failures, x.recorded, x.due, x.owner, x.started_at,
    NULL::timestamptz AS finished_at, NULL::bytea AS result,
    x.error_code, x.error_message, x.error_class, NULL::text AS fingerprint,
    x.cancel_requested_at IS NOT NULL AS cancel_requested";
pub(super) const DONE: &str =
    "SELECT x.id, x.state, x.failures, x.recorded, NULL::timestamptz AS due, x.owner,
    x.started_at, x.finished_at, x.result,
    x.error_code, x.error_message, x.error_class, x.fingerprint, false AS cancel_requested";

/// Where the jobs of an arm are.
#[derive(Debug, Clone, Copy)]
enum Place {
    Live,
    Done(State),
}

/// Jobs with a tag that is rare at most: as many are looked up one by one.
const RARE: i64 = 500;

/// The tag that an arm is read by.
#[derive(Debug)]
pub(super) struct RarestTag {
    tag: String,
    /// Fewer than [`RARE`] jobs have it.
    rare: bool,
}

/// The tag of a filter that the fewest jobs have. It decides which way round its jobs are
/// found, so it is counted, as far as it matters: of a young tag the planner knows nothing.
pub(super) async fn rarest_tag(
    tx: &mut PgConnection,
    filter: &JobFilter,
) -> Result<Option<RarestTag>, Fault> {
    let rarest: Option<(String, bool)> = sqlx::query_as(
        "SELECT asked.tag, counted.n <= $2
         FROM unnest($1::text[]) AS asked (tag)
         CROSS JOIN LATERAL (
             SELECT count(*) AS n FROM (
                 SELECT FROM longshore.tag t WHERE t.tag = asked.tag
                 ORDER BY t.id DESC LIMIT $2 + 1) AS seen) AS counted
         ORDER BY counted.n LIMIT 1",
    )
    .bind(&filter.tags)
    .bind(RARE)
    .fetch_optional(tx)
    .await?;
    Ok(rarest.map(|(tag, rare)| RarestTag { tag, rare }))
}

/// Appends the page of all jobs that match: columns of `x`, newest first.
pub(super) fn push_page(
    query: &mut QueryBuilder<Postgres>,
    filter: &JobFilter,
    tag: Option<&RarestTag>,
    page: Page,
) {
    let mut arms = places(filter);
    let in_lanes = match lanes::fit(filter) {
        true => take_done(&mut arms),
        false => Vec::new(),
    };
    query.push("SELECT * FROM (");
    for (n, place) in arms.iter().enumerate() {
        query.push(if n == 0 { "(" } else { " UNION ALL (" });
        push_arm(query, *place, filter, tag, page);
        query.push(")");
    }
    if !in_lanes.is_empty() {
        query.push(if arms.is_empty() { "(" } else { " UNION ALL (" });
        lanes::push_arm(query, &in_lanes, filter, page);
        query.push(")");
    } else if arms.is_empty() {
        query.push(LIVE).push(" FROM longshore.live x WHERE false");
    }
    query.push(") arms ORDER BY id DESC LIMIT ");
    query.push_bind(i64::from(page.limit));
}

fn places(filter: &JobFilter) -> Vec<Place> {
    let wanted = |state: &State| filter.states.is_empty() || filter.states.contains(state);
    let live = State::ALL
        .iter()
        .any(|state| !state.is_final() && wanted(state));
    let mut places = Vec::new();
    if live && filter.fingerprint.is_none() {
        places.push(Place::Live);
    }
    for state in State::ALL {
        let can_match = match state {
            State::Dead => true,
            State::Cancelled => filter.fingerprint.is_none(),
            State::Succeeded => !filter.is_about_errors(),
            _ => false,
        };
        if can_match && wanted(&state) {
            places.push(Place::Done(state));
        }
    }
    places
}

/// Takes the states of the finished out of the places.
fn take_done(places: &mut Vec<Place>) -> Vec<State> {
    let mut states = Vec::new();
    places.retain(|place| match place {
        Place::Live => true,
        Place::Done(state) => {
            states.push(*state);
            false
        }
    });
    states
}

fn push_arm(
    query: &mut QueryBuilder<Postgres>,
    place: Place,
    filter: &JobFilter,
    tag: Option<&RarestTag>,
    page: Page,
) {
    // Few of the many that succeeded have any tag: those that do are read in order.
    let many = matches!(place, Place::Done(State::Succeeded));
    let by_tag = tag.filter(|tag| tag.rare || many);
    let (columns, table) = match place {
        Place::Live => (LIVE, "longshore.live"),
        Place::Done(_) => (DONE, "longshore.done"),
    };
    query.push(columns);
    let id = match by_tag {
        Some(tag) => {
            query.push(" FROM longshore.tag t CROSS JOIN LATERAL (SELECT * FROM ");
            query
                .push(table)
                .push(" WHERE id = t.id OFFSET 0) x WHERE t.tag = ");
            query.push_bind(tag.tag.clone());
            push_bounds(query, "t.id", filter);
            "t.id"
        }
        None => {
            query.push(" FROM ").push(table).push(" x WHERE true");
            "x.id"
        }
    };
    match place {
        Place::Live => push_states(query, &filter.states),
        Place::Done(state) => {
            query.push(format_args!(" AND x.state = {}", state.code()));
        }
    }
    if let Some(before) = page.before {
        query
            .push(format_args!(" AND {id} < "))
            .push_bind(before.uuid());
    }
    push_filter(query, filter);
    query.push(format_args!(" ORDER BY {id} DESC LIMIT "));
    query.push_bind(i64::from(page.limit));
}

/// Those of the states that live jobs are in, as literals.
fn push_states(query: &mut QueryBuilder<Postgres>, states: &[State]) {
    let live: Vec<String> = states
        .iter()
        .filter(|state| !state.is_final())
        .map(|state| state.code().to_string())
        .collect();
    match live.as_slice() {
        [] => {}
        [only] => {
            query.push(format_args!(" AND x.state = {only}"));
        }
        several => {
            query.push(format_args!(" AND x.state IN ({})", several.join(", ")));
        }
    }
}

/// Everything but the states, of the row `x`.
pub(super) fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &JobFilter) {
    let queues = filter.queues.iter().map(|queue| queue.as_str().to_owned());
    push_one_of(query, "x.queue", queues.collect());
    let kinds = filter.kinds.iter().map(|kind| kind.as_str().to_owned());
    push_one_of(query, "x.kind", kinds.collect());
    if !filter.ids.is_empty() {
        let ids: Vec<Uuid> = filter.ids.iter().map(|id| id.uuid()).collect();
        query.push(" AND x.id = ANY (").push_bind(ids).push(")");
    }
    if let Some(code) = &filter.code {
        query.push(" AND x.error_code = ").push_bind(code.clone());
    }
    if let Some(fingerprint) = &filter.fingerprint {
        query.push(" AND x.fingerprint = ");
        query.push_bind(fingerprint.clone());
    }
    for tag in &filter.tags {
        // `OFFSET 0` keeps it a look-up for each row: a join would read the tag's every job.
        query.push(" AND EXISTS (SELECT FROM longshore.tag h WHERE h.id = x.id AND h.tag = ");
        query.push_bind(tag.clone()).push(" OFFSET 0)");
    }
    if let Some(text) = &filter.error {
        // As `error` is shown; the collation makes lower case the same on every server.
        query.push(" AND strpos(lower((x.error_code || ': ' || x.error_message) COLLATE \"C\"), ");
        query.push_bind(text.to_ascii_lowercase()).push(") > 0");
    }
    push_bounds(query, "x.id", filter);
    push_moment(query, ">=", filter.since);
    push_moment(query, "<", filter.until);
}

/// One value as a comparison, so that an index on it gives the order of what follows.
fn push_one_of(query: &mut QueryBuilder<Postgres>, column: &str, mut values: Vec<String>) {
    match (values.pop(), values.is_empty()) {
        (None, _) => {}
        (Some(only), true) => {
            query.push(format_args!(" AND {column} = ")).push_bind(only);
        }
        (Some(last), false) => {
            values.push(last);
            query.push(format_args!(" AND {column} = ANY ("));
            query.push_bind(values).push(")");
        }
    }
}

fn push_bounds(query: &mut QueryBuilder<Postgres>, id: &str, filter: &JobFilter) {
    let (from, to) = filter.id_bounds();
    if let Some(from) = from {
        query.push(format_args!(" AND {id} >= ")).push_bind(from);
    }
    if let Some(to) = to {
        query.push(format_args!(" AND {id} < ")).push_bind(to);
    }
}

/// A look-up for each row in order, which ends with the page.
fn push_moment(query: &mut QueryBuilder<Postgres>, how: &str, moment: Option<DateTime<Utc>>) {
    if let Some(moment) = moment {
        query.push(format_args!(
            " AND (SELECT j.created_at FROM longshore.job j WHERE j.id = x.id) {how} "
        ));
        query.push_bind(moment);
    }
}
