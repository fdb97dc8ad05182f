//! The steps of an operation on many dead jobs.

use sqlx::{PgConnection, QueryBuilder};
use uuid::Uuid;

use super::error::Fault;
use super::operations::{Row, columns, push_dead, signed};
use super::transaction::micros;
use super::{one, outbox, purge};
use crate::store::{Action, Advance, Operation, OperationId, OutboxEntry, OutboxId, StepBy};

/// Payloads of one step, in bytes, give or take a job: all of it is in memory until the broker
/// has confirmed it.
const STEP_BYTES: i64 = 8 * 1024 * 1024;

/// Jobs that are looked at in one step where a pattern decides.
const SCAN: i64 = 500;

/// What a step needs to know beyond what is shown.
#[derive(sqlx::FromRow)]
struct Step {
    #[sqlx(flatten)]
    row: Row,
    place: Option<Uuid>,
    holder: Option<Uuid>,
    entry: Option<i64>,
}

/// The operation's row is locked first and its place moves in the same transaction as its jobs:
/// of two executors one waits or looks elsewhere, and one that dies leaves no half of a step.
/// `taken` is told which one it is, for when that fails.
pub(super) async fn advance(
    tx: &mut PgConnection,
    by: &StepBy,
    only: Option<OperationId>,
    taken: &mut Option<Uuid>,
) -> Result<Option<Advance>, Fault> {
    let Some(step) = take(tx, by.executor, only).await? else {
        return Ok(None);
    };
    *taken = Some(step.row.id);
    let (place, holder, entry) = (step.place, step.holder, step.entry);
    let operation = Operation::try_from(step.row)?;
    if let Some(entry) = entry.filter(|_| holder != Some(by.executor))
        && let Some(entry) = outbox::lease_again(tx, OutboxId(entry), by.lease).await?
    {
        hold(tx, operation.id, by).await?;
        return Ok(Some(Advance {
            operation,
            entry: Some(entry),
        }));
    }
    let batch = i64::from(operation.next_batch(by.batch));
    let picked = pick(tx, &operation, place, batch).await?;
    let locked = lock(tx, &operation, &picked.ids).await?;
    let (entry, done) = match operation.action {
        Action::Requeue => {
            let back = one::send_back(tx, &locked).await?;
            let done = back.len();
            (outbox::enter(tx, back, by.lease).await?, done)
        }
        Action::Purge => (None, purge::purge(tx, &locked).await?),
        // One job at a time, and never running as an operation.
        Action::Cancel => (None, 0),
    };
    let counts = Counts {
        done: done as u64,
        skipped: (picked.ids.len() - locked.len()) as u64,
        failed: locked.len().saturating_sub(done) as u64,
    };
    let moved = Moved {
        place: picked.place.or(place),
        ended: picked.last || operation.is_used_up(counts.done + counts.failed),
        counts,
        entry: entry.as_ref(),
    };
    let operation = write(tx, &operation, by, &moved).await?;
    Ok(Some(Advance { operation, entry }))
}

struct Counts {
    done: u64,
    skipped: u64,
    failed: u64,
}

struct Moved<'a> {
    place: Option<Uuid>,
    ended: bool,
    counts: Counts,
    entry: Option<&'a OutboxEntry>,
}

async fn take(
    tx: &mut PgConnection,
    executor: Uuid,
    only: Option<OperationId>,
) -> Result<Option<Step>, Fault> {
    Ok(sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        ", place, holder, entry FROM longshore.operation
         WHERE state = 0 AND next_at <= now() AND (holder = $1 OR held_until <= now())
           AND ($2::uuid IS NULL OR id = $2)
         ORDER BY next_at, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED"
    ))
    .bind(executor)
    .bind(only.map(OperationId::uuid))
    .fetch_optional(tx)
    .await?)
}

async fn hold(tx: &mut PgConnection, id: OperationId, by: &StepBy) -> Result<(), Fault> {
    sqlx::query(
        "UPDATE longshore.operation
         SET holder = $2, held_until = now() + $3 * interval '1 microsecond' WHERE id = $1",
    )
    .bind(id.uuid())
    .bind(by.executor)
    .bind(micros(by.hold))
    .execute(tx)
    .await?;
    Ok(())
}

/// The next jobs in order.
struct Picked {
    ids: Vec<Uuid>,
    /// The last job that was looked at.
    place: Option<Uuid>,
    /// None is left after it.
    last: bool,
}

/// Read without a lock, so that what somebody else takes meanwhile is known to have been there.
/// Where a pattern decides, more are looked at than are taken.
async fn pick(
    tx: &mut PgConnection,
    operation: &Operation,
    place: Option<Uuid>,
    batch: i64,
) -> Result<Picked, Fault> {
    let filter = operation.readable_filter().map_err(Fault::corrupt)?;
    let pattern = filter.pattern().map_err(Fault::corrupt)?;
    let looked = match pattern {
        Some(_) => batch.max(SCAN),
        None => batch,
    };
    let mut query = QueryBuilder::new(
        "WITH p AS MATERIALIZED (SELECT x.id, x.error_code || ': ' || x.error_message AS error",
    );
    push_dead(&mut query, filter);
    query
        .push(" AND x.finished_at <= ")
        .push_bind(operation.created_at);
    if let Some(place) = place {
        query.push(" AND x.id > ").push_bind(place);
    }
    query.push(" ORDER BY x.id LIMIT ").push_bind(looked);
    query.push(
        ") SELECT p.id, COALESCE((SELECT octet_length(j.payload) FROM longshore.job j
                                  WHERE j.id = p.id), 0)::bigint, p.error
         FROM p ORDER BY p.id",
    );
    let found: Vec<(Uuid, i64, String)> = query.build_query_as().fetch_all(tx).await?;
    let mut picked = Picked {
        ids: Vec::with_capacity(found.len()),
        place: None,
        last: (found.len() as u64) < looked.unsigned_abs(),
    };
    let mut bytes = 0_i64;
    for (id, length, error) in found {
        if bytes >= STEP_BYTES || picked.ids.len() as u64 >= batch.unsigned_abs() {
            picked.last = false;
            break;
        }
        picked.place = Some(id);
        if pattern
            .as_ref()
            .is_none_or(|pattern| pattern.matches(&error))
        {
            bytes = bytes.saturating_add(length);
            picked.ids.push(id);
        }
    }
    Ok(picked)
}

/// Those that are still dead, locked in order; not those that were requeued and died again since
/// they were picked.
async fn lock(
    tx: &mut PgConnection,
    operation: &Operation,
    ids: &[Uuid],
) -> Result<Vec<Uuid>, Fault> {
    Ok(sqlx::query_scalar(
        "SELECT id FROM longshore.done WHERE id = ANY ($1) AND state = 5 AND finished_at <= $2
         ORDER BY id FOR UPDATE",
    )
    .bind(ids)
    .bind(operation.created_at)
    .fetch_all(tx)
    .await?)
}

async fn write(
    tx: &mut PgConnection,
    operation: &Operation,
    by: &StepBy,
    moved: &Moved<'_>,
) -> Result<Operation, Fault> {
    let pause = operation
        .pause_after(moved.counts.done)
        .filter(|_| !moved.ended);
    let row: Row = sqlx::query_as(concat!(
        "UPDATE longshore.operation
         SET place = $2, done = done + $3, skipped = skipped + $4, failed = failed + $5,
             holder = $6, held_until = now() + $7 * interval '1 microsecond',
             next_at = now() + $8 * interval '1 microsecond', entry = $9,
             state = CASE WHEN $10 THEN 2 ELSE state END,
             finished_at = CASE WHEN $10 THEN now() END
         WHERE id = $1 RETURNING ",
        columns!()
    ))
    .bind(operation.id.uuid())
    .bind(moved.place)
    .bind(signed(moved.counts.done))
    .bind(signed(moved.counts.skipped))
    .bind(signed(moved.counts.failed))
    .bind(by.executor)
    .bind(micros(by.hold))
    .bind(micros(pause.unwrap_or_default()))
    .bind(moved.entry.map(|entry| entry.id.0))
    .bind(moved.ended)
    .fetch_one(tx)
    .await?;
    Operation::try_from(row)
}
