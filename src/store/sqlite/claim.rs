use std::collections::HashMap;

use sqlx::types::Uuid;
use sqlx::{Sqlite, Transaction};

use super::{SqliteStore, clock, rows};
use crate::job::{Claimed, JobId, ProcessId, Standing, State};
use crate::store::{Claim, ClaimRequest};

pub(super) async fn claim(
    store: &SqliteStore,
    process: ProcessId,
    requests: &[ClaimRequest],
) -> sqlx::Result<Vec<Claim>> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let (mut tx, now) = store.write().await?;
    let mut won = take(&mut tx, process, requests, now).await?;
    let mut claims: Vec<Option<Claim>> = Vec::with_capacity(requests.len());
    for request in requests {
        // Taken out by the first request that fits: its equals have lost. Where one asks to win
        // over this very epoch, the row ran, and no other request has won it.
        let fits = won.get(&request.id).is_some_and(|row| {
            let over = |request: &ClaimRequest| request.over_epoch == Some(row.epoch - 1);
            let same = |other: &&ClaimRequest| {
                (other.id, other.dispatch) == (request.id, request.dispatch)
            };
            row.dispatch == request.dispatch
                && (over(request) || !requests.iter().filter(same).any(over))
        });
        let row = if fits { won.remove(&request.id) } else { None };
        let won = row.map(|row| row.claimed(process, now)).transpose()?;
        claims.push(won.map(Claim::Won));
    }
    let lost = requests
        .iter()
        .zip(&claims)
        .filter(|(_, claim)| claim.is_none())
        .map(|(request, _)| request.id);
    let standings = standings(&mut tx, lost).await?;
    tx.commit().await?;
    let answer = |(claim, request): (Option<Claim>, &ClaimRequest)| {
        claim.unwrap_or_else(|| Claim::Lost(standings.get(&request.id).copied()))
    };
    Ok(claims.into_iter().zip(requests).map(answer).collect())
}

#[derive(sqlx::FromRow)]
struct WonRow {
    id: Uuid,
    dispatch: i32,
    epoch: i32,
    failures: u32,
    recorded: u32,
    crashes: u32,
    max_attempts: Option<u32>,
    created_at: i64,
    queued_at: i64,
    postponed_since: Option<i64>,
}

impl WonRow {
    fn claimed(self, owner: ProcessId, now: i64) -> sqlx::Result<Claimed> {
        Ok(Claimed {
            owner,
            epoch: self.epoch,
            failures: self.failures,
            earlier_failures: self.recorded.saturating_sub(self.failures),
            crashes: self.crashes,
            max_attempts: self.max_attempts,
            created_at: clock::moment(self.created_at)?,
            queued_at: clock::moment(self.queued_at)?,
            started_at: clock::moment(now)?,
            postponed_for: self.postponed_since.map(|since| clock::elapsed(since, now)),
        })
    }
}

/// `?1` requests, `?2` process, `?3` now. The unary `+` keeps the planner from walking all that
/// is queued once for each request; the id is the only way in.
pub(super) const TAKE: &str = "
    UPDATE job SET state = 2, owner = ?2, epoch = epoch + 1, started_at = ?3
    FROM json_each(?1) AS r
    WHERE job.id = unhex(r.value ->> 0) AND +job.dispatch = r.value ->> 1
      AND (+job.state = 1
           OR (+job.state = 2 AND +job.owner = ?2 AND +job.epoch = r.value ->> 2))
      AND EXISTS (SELECT 1 FROM process WHERE process.id = ?2 AND process.alive)
    RETURNING id, dispatch, epoch, failures, crashes, max_attempts, created_at, queued_at,
              postponed_since,
              (SELECT coalesce(max(number), 0) FROM attempt WHERE attempt.job = job.id) AS recorded";

/// One row at most for each job, even if several requests name it. The process must be alive
/// under the same write lock that [`super::processes::bury`] takes.
async fn take(
    tx: &mut Transaction<'static, Sqlite>,
    process: ProcessId,
    requests: &[ClaimRequest],
    now: i64,
) -> sqlx::Result<HashMap<JobId, WonRow>> {
    let asked: Vec<(String, i32, Option<i32>)> = requests
        .iter()
        .map(|request| (rows::hex(request.id), request.dispatch, request.over_epoch))
        .collect();
    let won: Vec<WonRow> = sqlx::query_as(TAKE)
        .bind(rows::batch(&asked)?)
        .bind(process.0)
        .bind(now)
        .fetch_all(&mut **tx)
        .await?;
    Ok(won.into_iter().map(|row| (row.id.into(), row)).collect())
}

pub(super) async fn standings(
    tx: &mut Transaction<'static, Sqlite>,
    ids: impl Iterator<Item = JobId>,
) -> sqlx::Result<HashMap<JobId, Standing>> {
    let ids: Vec<JobId> = ids.collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, i16, i32, i32, Option<i64>)> = sqlx::query_as(
        "SELECT id, state, dispatch, epoch, owner FROM job
         WHERE id IN (SELECT unhex(value) FROM json_each(?1))
         UNION ALL
         SELECT id, state, dispatch, epoch, NULL FROM tombstone
         WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
    )
    .bind(rows::id_batch(ids)?)
    .fetch_all(&mut **tx)
    .await?;
    let read = |(id, code, dispatch, epoch, owner): (Uuid, i16, i32, i32, Option<i64>)| {
        let state = rows::state(code)?;
        let owner = owner.filter(|_| state == State::Running).map(ProcessId);
        let standing = Standing {
            state,
            dispatch,
            epoch,
            owner,
        };
        Ok((id.into(), standing))
    };
    rows.into_iter().map(read).collect()
}
