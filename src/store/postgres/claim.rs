use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Fault;
use super::rows::state;
use super::transaction::unsigned;
use crate::job::{Claimed, JobId, ProcessId, Standing, State};
use crate::store::{Claim, ClaimRequest};

/// How often a request is looked at again whose row became free after it was refused.
const LOOKS: u32 = 3;

/// Claims what is free, then locks and looks at the rows of the others.
///
/// The race with [`bury`](super::processes::bury) is decided by the process's row. If our
/// `FOR KEY SHARE` comes first, the burial's `FOR UPDATE` waits for our commit, and its next
/// statement sees our claims and rescues them. If the burial comes first, we wait for it and
/// then find the process dead: PostgreSQL checks `state` again on the row's newest version. So
/// no claim is committed for a process after the burial that should have rescued it. The process
/// is locked before any row in both, which therefore cannot deadlock.
pub(super) async fn claim(
    tx: &mut PgConnection,
    process: ProcessId,
    requests: &[ClaimRequest],
) -> Result<Vec<Claim>, Fault> {
    let mut answers = vec![Claim::Lost(None); requests.len()];
    let mut open: Vec<usize> = (0..requests.len()).collect();
    let mut won = win(tx, process, requests).await?;
    open.retain(|n| match won.remove(&asked(&requests[*n])) {
        Some(claimed) => {
            answers[*n] = Claim::Won(claimed);
            false
        }
        None => true,
    });
    let alive = !open.is_empty() && lock_process(tx, process).await?;
    for _ in 0..LOOKS {
        if open.is_empty() {
            break;
        }
        let mut met = attempt(tx, process, alive, requests, &open).await?;
        open.retain(|n| met.remove(n).map(|claim| answers[*n] = claim).is_none());
        if open.is_empty() {
            break;
        }
        let ids = open.iter().map(|n| requests[*n].id.uuid()).collect();
        let standings = standings(tx, ids).await?;
        for n in &open {
            answers[*n] = Claim::Lost(standings.get(&requests[*n].id).copied());
        }
        // Not in `live` at the attempt, but there when we looked why: a dead job was requeued
        // in between. It may be the very dispatch that was asked for, so ask again.
        open.retain(|n| alive && is_free(&requests[*n], &answers[*n]));
    }
    Ok(answers)
}

fn asked(request: &ClaimRequest) -> (JobId, i32) {
    (request.id, request.dispatch)
}

/// Whether the process may claim, which it then may until the transaction ends.
async fn lock_process(tx: &mut PgConnection, process: ProcessId) -> Result<bool, Fault> {
    let alive = "SELECT FROM longshore.process WHERE id = $1 AND state = 0 FOR KEY SHARE";
    let found = sqlx::query(alive)
        .bind(process.0)
        .fetch_optional(tx)
        .await?;
    Ok(found.is_some())
}

/// Claims those that wait at the dispatch that is asked for: nearly always all of them. The
/// process's row is locked on the way, before the first of theirs: whether there is one to lock is
/// asked before a row is taken.
///
/// Rows are locked in the order of the index, see [`HOT`](super::transaction::HOT). Only two
/// batches that each have stale copies of what the other wins can wait for each other, and are
/// tried again as after any deadlock.
async fn win(
    tx: &mut PgConnection,
    process: ProcessId,
    requests: &[ClaimRequest],
) -> Result<HashMap<(JobId, i32), Claimed>, Fault> {
    let ids: Vec<Uuid> = requests.iter().map(|request| request.id.uuid()).collect();
    let dispatches: Vec<i32> = requests.iter().map(|request| request.dispatch).collect();
    let rows: Vec<Row> = sqlx::query_as(
        "WITH alive AS MATERIALIZED (
             SELECT FROM longshore.process WHERE id = $1 AND state = 0 FOR KEY SHARE)
         UPDATE longshore.live
         SET state = 2, owner = $1, epoch = epoch + 1, started_at = now()
         WHERE EXISTS (SELECT FROM alive) AND id = ANY ($2) AND state = 1
           AND ((id, dispatch) IN (SELECT * FROM unnest($2::uuid[], $3::integer[]))) IS TRUE
         RETURNING id, state, dispatch, epoch, owner, failures, recorded, crashes, max_attempts,
                   created_at, queued_at, now() AS now,
                   (extract(epoch FROM now() - postponed_since) * 1000000)::bigint
                       AS postponed_for",
    )
    .bind(process.0)
    .bind(ids)
    .bind(dispatches)
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| Ok(((JobId::from(row.id), row.dispatch), row.claimed(process)?)))
        .collect()
}

fn is_free(request: &ClaimRequest, answer: &Claim) -> bool {
    matches!(answer, Claim::Lost(Some(row))
        if row.state == State::Queued && row.dispatch == request.dispatch)
}

/// A row of `live`, locked.
#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    state: i16,
    dispatch: i32,
    epoch: i32,
    owner: Option<i64>,
    failures: i32,
    recorded: i32,
    crashes: i32,
    max_attempts: Option<i32>,
    created_at: DateTime<Utc>,
    queued_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    postponed_for: Option<i64>,
}

/// Claims what can be had of the open requests and says how the others' rows stand, for all
/// that are in `live`.
///
/// Every row is locked, also those that are refused, so that a refusal tells of the same moment
/// as the claims: were it read later, a row handed back meanwhile would look free.
async fn attempt(
    tx: &mut PgConnection,
    process: ProcessId,
    alive: bool,
    requests: &[ClaimRequest],
    open: &[usize],
) -> Result<HashMap<usize, Claim>, Fault> {
    let mut rows = lock(tx, requests, open).await?;
    let mut answers = HashMap::with_capacity(open.len());
    let mut won = HashSet::new();
    for n in open {
        let request = &requests[*n];
        let Some(row) = rows.get_mut(&request.id) else {
            continue;
        };
        let answer = if alive && row.is_had_by(process, request) && won.insert(request.id) {
            row.become_running(process);
            Claim::Won(row.claimed(process)?)
        } else {
            let standing = standing(row.state, row.dispatch, row.epoch, row.owner)?;
            Claim::Lost(Some(standing))
        };
        answers.insert(*n, answer);
    }
    let won: Vec<Uuid> = won.into_iter().map(JobId::uuid).collect();
    if !won.is_empty() {
        sqlx::query(
            "UPDATE longshore.live
             SET state = 2, owner = $1, epoch = epoch + 1, started_at = now()
             WHERE id = ANY ($2)",
        )
        .bind(process.0)
        .bind(won)
        .execute(tx)
        .await?;
    }
    Ok(answers)
}

async fn lock(
    tx: &mut PgConnection,
    requests: &[ClaimRequest],
    open: &[usize],
) -> Result<HashMap<JobId, Row>, Fault> {
    let ids: Vec<Uuid> = open.iter().map(|n| requests[*n].id.uuid()).collect();
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, state, dispatch, epoch, owner, failures, recorded, crashes, max_attempts,
                created_at, queued_at, now() AS now,
                (extract(epoch FROM now() - postponed_since) * 1000000)::bigint AS postponed_for
         FROM longshore.live WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (JobId::from(row.id), row))
        .collect())
}

impl Row {
    fn is_had_by(&self, process: ProcessId, request: &ClaimRequest) -> bool {
        let free = self.state == State::Queued.code();
        let reply_was_lost =
            self.owner == Some(process.0) && request.over_epoch == Some(self.epoch);
        self.dispatch == request.dispatch && (free || reply_was_lost)
    }

    fn become_running(&mut self, process: ProcessId) {
        self.state = State::Running.code();
        self.owner = Some(process.0);
        self.epoch += 1;
    }

    fn claimed(&self, process: ProcessId) -> Result<Claimed, Fault> {
        let id = self.id;
        Ok(Claimed {
            owner: process,
            epoch: self.epoch,
            failures: unsigned(self.failures),
            earlier_failures: unsigned(self.recorded),
            crashes: unsigned(self.crashes),
            max_attempts: self.max_attempts.map(unsigned),
            created_at: self.created_at,
            queued_at: self
                .queued_at
                .ok_or_else(|| Fault::corrupt(format!("{id} has no queued_at")))?,
            started_at: self.now,
            postponed_for: self.postponed_for.map(unsigned).map(Duration::from_micros),
        })
    }
}

fn standing(code: i16, dispatch: i32, epoch: i32, owner: Option<i64>) -> Result<Standing, Fault> {
    Ok(Standing {
        state: state(code)?,
        dispatch,
        epoch,
        owner: owner.map(ProcessId),
    })
}

/// How the rows of these jobs stand, wherever they are: in one snapshot a job is in one
/// place. A pruned job is told by its tombstone.
pub(super) async fn standings(
    tx: &mut PgConnection,
    ids: Vec<Uuid>,
) -> Result<HashMap<JobId, Standing>, Fault> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, i16, i32, i32, Option<i64>)> = sqlx::query_as(
        "SELECT id, state, dispatch, epoch, owner FROM longshore.live WHERE id = ANY ($1)
         UNION ALL
         SELECT d.id, d.state, d.dispatch, d.epoch, NULL
         FROM (SELECT DISTINCT unnest($1) AS id) asked
         CROSS JOIN LATERAL (SELECT * FROM longshore.done WHERE id = asked.id OFFSET 0) d
         UNION ALL
         SELECT id, state, dispatch, epoch, NULL FROM longshore.tombstone WHERE id = ANY ($1)",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|(id, state, dispatch, epoch, owner)| {
            Ok((JobId::from(id), standing(state, dispatch, epoch, owner)?))
        })
        .collect()
}
