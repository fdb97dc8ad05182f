//! The steps of an operation on many dead jobs.

use sqlx::types::Uuid;
use sqlx::{QueryBuilder, Sqlite, Transaction};

use super::operations::{Row, columns, matching, one_operation, signed};
use super::rows::{PublicationRow, publication};
use super::{SqliteStore, clock, one, outbox, purge, rows};
use crate::job::{JobId, Publication};
use crate::store::operation::PUT_OFF;
use crate::store::{Action, Advance, Operation, OperationId, OutboxId, StepBy};

type Tx = Transaction<'static, Sqlite>;

/// Payloads of one step, in bytes, give or take a job.
const STEP_BYTES: usize = 8 * 1024 * 1024;

/// Jobs that are looked at in one step where a pattern decides.
const SCAN: u32 = 500;

/// A dead job that may be picked.
#[derive(sqlx::FromRow)]
struct DeadRow {
    #[sqlx(flatten)]
    job: PublicationRow,
    error: String,
}

/// After a step of it has failed.
async fn put_off(store: &SqliteStore, id: Uuid) -> sqlx::Result<()> {
    let (mut tx, now) = store.write().await?;
    sqlx::query("UPDATE operation SET next_at = ?2 WHERE id = ?1 AND state = 0")
        .bind(id)
        .bind(clock::after(now, PUT_OFF))
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

pub(super) async fn advance(
    store: &SqliteStore,
    by: &StepBy,
    only: Option<OperationId>,
) -> sqlx::Result<Option<Advance>> {
    let mut taken = None;
    let answer = step(store, by, only, &mut taken).await;
    if let (Err(_), Some(id)) = (&answer, taken) {
        // What it failed of is told; that it is put off, too, or not, changes nothing in that.
        let _ = put_off(store, id).await;
    }
    answer
}

/// `taken` is told which operation it is, for when that fails.
async fn step(
    store: &SqliteStore,
    by: &StepBy,
    only: Option<OperationId>,
    taken: &mut Option<Uuid>,
) -> sqlx::Result<Option<Advance>> {
    // Most looks find nothing: they must not take the write lock.
    if take(
        &mut store.read().await?,
        by.executor,
        only,
        store.clock.micros(),
    )
    .await?
    .is_none()
    {
        return Ok(None);
    }
    let (mut tx, now) = store.write().await?;
    let Some(row) = take(&mut tx, by.executor, only, now).await? else {
        return Ok(None);
    };
    *taken = Some(row.id);
    let (place, holder, entry) = (row.place, row.holder, row.entry);
    let operation = Operation::try_from(row)?;
    let held_until = clock::after(now, by.hold);
    let leased_until = clock::after(now, by.lease);
    if let Some(entry) = entry.filter(|_| holder != Some(by.executor))
        && let Some(entry) = outbox::lease_again(&mut tx, OutboxId(entry), leased_until).await?
    {
        sqlx::query("UPDATE operation SET holder = ?2, held_until = ?3 WHERE id = ?1")
            .bind(operation.id.uuid())
            .bind(by.executor)
            .bind(held_until)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        let entry = Some(entry);
        return Ok(Some(Advance { operation, entry }));
    }
    let batch = operation.next_batch(by.batch);
    let Picked { jobs, seen, last } = pick(&mut tx, &operation, place, batch).await?;
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let done = ids.len() as u64;
    let place = seen.map(JobId::uuid).or(place);
    let entry = match operation.action {
        Action::Requeue => {
            one::send_back(&mut tx, now, &ids).await?;
            let anew = |picked: Publication| Publication {
                dispatch: picked.dispatch + 1,
                ..picked
            };
            let publications = jobs.into_iter().map(anew).collect();
            outbox::enter_leased(&mut tx, now, by.lease, publications).await?
        }
        Action::Purge => {
            purge::purge(&mut tx, now, &ids).await?;
            None
        }
        // One job at a time, and never running as an operation.
        Action::Cancel => None,
    };
    let ended = last || operation.is_used_up(done);
    let pause = operation.pause_after(done).filter(|_| !ended);
    sqlx::query(
        "UPDATE operation
         SET place = ?2, done = done + ?3, holder = ?4, held_until = ?5, next_at = ?6,
             entry = ?7, state = iif(?8, 2, state), finished_at = iif(?8, ?9, NULL)
         WHERE id = ?1",
    )
    .bind(operation.id.uuid())
    .bind(place)
    .bind(signed(done))
    .bind(by.executor)
    .bind(held_until)
    .bind(clock::after(now, pause.unwrap_or_default()))
    .bind(entry.as_ref().map(|entry| entry.id.0))
    .bind(ended)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    let operation = one_operation(&mut tx, operation.id).await?;
    tx.commit().await?;
    Ok(operation.map(|operation| Advance { operation, entry }))
}

async fn take(
    tx: &mut Tx,
    executor: Uuid,
    only: Option<OperationId>,
    now: i64,
) -> sqlx::Result<Option<Row>> {
    sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM operation
         WHERE state = 0 AND next_at <= ?1 AND (holder = ?2 OR held_until <= ?1)
           AND (?3 IS NULL OR id = ?3)
         ORDER BY next_at, id LIMIT 1"
    ))
    .bind(now)
    .bind(executor)
    .bind(only.map(OperationId::uuid))
    .fetch_optional(&mut **tx)
    .await
}

/// The next jobs in order.
struct Picked {
    jobs: Vec<Publication>,
    /// The last job that was looked at.
    seen: Option<JobId>,
    /// None is left after it.
    last: bool,
}

/// The write lock is held: nobody takes one of them meanwhile, so none is skipped. Where a
/// pattern decides, more are looked at than are taken.
async fn pick(
    tx: &mut Tx,
    operation: &Operation,
    place: Option<Uuid>,
    batch: u32,
) -> sqlx::Result<Picked> {
    let filter = operation.readable_filter().map_err(rows::corrupt)?;
    let pattern = filter.pattern().map_err(rows::corrupt)?;
    let looked = match pattern {
        Some(_) => batch.max(SCAN),
        None => batch,
    };
    let mut query = QueryBuilder::new(concat!(
        "SELECT ",
        publication!(),
        ", job.error_code || ': ' || job.error_message AS error
         FROM job WHERE id IN (SELECT id FROM job WHERE state = 5"
    ));
    matching(&mut query, filter)?;
    query
        .push(" AND finished_at <= ")
        .push_bind(operation.created_at.timestamp_micros());
    if let Some(place) = place {
        query.push(" AND id > ").push_bind(place);
    }
    query
        .push(" ORDER BY id LIMIT ")
        .push_bind(looked)
        .push(") ORDER BY id");
    let found: Vec<DeadRow> = query.build_query_as().fetch_all(&mut **tx).await?;
    let mut picked = Picked {
        jobs: Vec::with_capacity(found.len()),
        seen: None,
        last: found.len() < looked as usize,
    };
    let mut bytes = 0;
    for row in found {
        if bytes >= STEP_BYTES || picked.jobs.len() >= batch as usize {
            picked.last = false;
            break;
        }
        let job = Publication::try_from(row.job)?;
        picked.seen = Some(job.id);
        if pattern
            .as_ref()
            .is_none_or(|pattern| pattern.matches(&row.error))
        {
            bytes += job.payload.len();
            picked.jobs.push(job);
        }
    }
    Ok(picked)
}
