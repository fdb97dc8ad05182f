//! The finished by queue and kind.
//!
//! The index `done_lane` holds them as lanes, each in the order of ids: one for every queue, kind,
//! state, and whether they are `prompt`. A page is the newest of what each lane that matches
//! begins with. There are few lanes however many jobs there are; which queues and kinds have
//! any is found by one look into the index for each.

use sqlx::{Postgres, QueryBuilder};

use super::filter::{DONE, push_filter};
use crate::job::State;
use crate::store::{JobFilter, Page};

/// The queues that have finished jobs, as a query of `queue`.
pub(super) const QUEUES: &str = "
    WITH RECURSIVE found AS (
        (SELECT queue FROM longshore.done ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (SELECT d.queue FROM longshore.done d WHERE d.queue > found.queue
                ORDER BY d.queue LIMIT 1)
        FROM found WHERE found.queue IS NOT NULL)
    SELECT queue FROM found WHERE queue IS NOT NULL";

/// True if a list of the finished is best read by lanes: no other index is as narrow.
pub(super) fn fit(filter: &JobFilter) -> bool {
    !(filter.kinds.is_empty() && filter.queues.is_empty())
        && filter.tags.is_empty()
        && filter.ids.is_empty()
        && filter.code.is_none()
        && filter.fingerprint.is_none()
}

/// Appends the page of the finished in some states that match.
///
/// No id is null, but the index says where nulls would be, and not where the primary key does: so
/// only the index gives this order, and the planner cannot take a rare kind for a common one and
/// walk through all jobs. (To compare whole rows would not do: PostgreSQL before 18 ends such a
/// scan only where the first column changes.)
pub(super) fn push_arm(
    query: &mut QueryBuilder<Postgres>,
    states: &[State],
    filter: &JobFilter,
    page: Page,
) {
    query.push("SELECT page.* FROM (");
    push_lanes(query, filter);
    query.push(") AS lane (queue, kind) CROSS JOIN (VALUES ");
    for (n, state) in states.iter().enumerate() {
        let (comma, code) = (if n == 0 { "" } else { ", " }, state.code());
        query.push(format_args!("{comma}({code}::smallint, false)"));
        if *state == State::Succeeded {
            query.push(format_args!(", ({code}::smallint, true)"));
        }
    }
    query.push(") AS part (state, prompt) CROSS JOIN LATERAL (");
    query.push(DONE);
    query.push(
        " FROM longshore.done x
          WHERE x.queue = lane.queue AND x.kind = lane.kind
            AND x.state = part.state AND x.prompt = part.prompt",
    );
    if let Some(before) = page.before {
        query.push(" AND x.id < ").push_bind(before.uuid());
    }
    let others = JobFilter {
        kinds: Vec::new(),
        queues: Vec::new(),
        ..filter.clone()
    };
    push_filter(query, &others);
    query.push(" ORDER BY x.id DESC NULLS LAST LIMIT ");
    query.push_bind(i64::from(page.limit));
    query.push(") page ORDER BY page.id DESC LIMIT ");
    query.push_bind(i64::from(page.limit));
}

/// Every queue and kind that may have what is looked for, each once.
fn push_lanes(query: &mut QueryBuilder<Postgres>, filter: &JobFilter) {
    let mut queues: Vec<&str> = filter.queues.iter().map(|queue| queue.as_str()).collect();
    queues.sort_unstable();
    queues.dedup();
    let queues: Vec<String> = queues.into_iter().map(str::to_owned).collect();
    if filter.kinds.is_empty() {
        push_kinds_of(query, queues);
        return;
    }
    let mut kinds: Vec<String> = filter.kinds.iter().map(|k| k.as_str().to_owned()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    query.push("SELECT q.queue, k.kind FROM unnest(");
    query
        .push_bind(kinds)
        .push("::text[]) AS k (kind) CROSS JOIN ");
    if queues.is_empty() {
        query.push("(").push(QUEUES).push(") AS q (queue)");
    } else {
        query.push("unnest(").push_bind(queues);
        query.push("::text[]) AS q (queue)");
    }
}

/// Appends a query of `queue` and `kind`: what the finished of these queues are.
pub(super) fn push_kinds_of(query: &mut QueryBuilder<Postgres>, queues: Vec<String>) {
    query.push(
        "WITH RECURSIVE found AS (
             SELECT q.queue, (SELECT d.kind FROM longshore.done d WHERE d.queue = q.queue
                              ORDER BY d.kind LIMIT 1) AS kind
             FROM unnest(",
    );
    query.push_bind(queues);
    query.push(
        "::text[]) AS q (queue)
             UNION ALL
             SELECT found.queue, (SELECT d.kind FROM longshore.done d
                                  WHERE d.queue = found.queue AND d.kind > found.kind
                                  ORDER BY d.kind LIMIT 1)
             FROM found WHERE found.kind IS NOT NULL)
         SELECT queue, kind FROM found WHERE kind IS NOT NULL",
    );
}
