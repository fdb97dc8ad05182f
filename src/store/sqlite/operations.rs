//! Operations on many dead jobs, in steps.

use sqlx::types::Uuid;
use sqlx::{QueryBuilder, Sqlite, Transaction};

use super::rows::{PublicationRow, publication};
use super::{SqliteStore, clock, one, outbox, purge, read, rows};
use crate::job::{JobId, Publication};
use crate::store::{
    Action, Advance, DeadGroup, JobFilter, NewOperation, Operation, OperationCommand, OperationId,
    OperationState, OutboxId, StepBy,
};

type Tx = Transaction<'static, Sqlite>;

/// Payloads of one step, in bytes, give or take a job.
const STEP_BYTES: usize = 8 * 1024 * 1024;

macro_rules! columns {
    () => {
        "id, action, state, filter, most, rate, created_by, created_at, changed_by, changed_at,
         finished_at, matched, done, skipped, failed, place, holder, entry"
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    action: String,
    state: i16,
    filter: String,
    most: Option<i64>,
    rate: Option<f64>,
    created_by: String,
    created_at: i64,
    changed_by: Option<String>,
    changed_at: Option<i64>,
    finished_at: Option<i64>,
    matched: i64,
    done: i64,
    skipped: i64,
    failed: i64,
    place: Option<Uuid>,
    holder: Option<Uuid>,
    entry: Option<i64>,
}

impl TryFrom<Row> for Operation {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let corrupt = |what: &str| rows::corrupt(format!("{what} of operation {}", row.id));
        let moment = |at: Option<i64>| at.map(clock::moment).transpose();
        Ok(Self {
            id: OperationId::from(row.id),
            action: Action::from_name(&row.action).ok_or_else(|| corrupt("the action"))?,
            state: OperationState::from_code(row.state).ok_or_else(|| corrupt("the state"))?,
            filter: serde_json::from_str(&row.filter).map_err(|_| corrupt("the filter"))?,
            limit: row.most.map(i64::unsigned_abs),
            rate: row.rate,
            created_by: row.created_by,
            created_at: clock::moment(row.created_at)?,
            changed_by: row.changed_by,
            changed_at: moment(row.changed_at)?,
            finished_at: moment(row.finished_at)?,
            matched: row.matched.unsigned_abs(),
            done: row.done.unsigned_abs(),
            skipped: row.skipped.unsigned_abs(),
            failed: row.failed.unsigned_abs(),
        })
    }
}

pub(super) async fn count_dead(store: &SqliteStore, filter: &JobFilter) -> sqlx::Result<u64> {
    let mut tx = store.read().await?;
    count(&mut tx, filter).await
}

/// Everything but the states of a filter: it is about the dead.
fn matching(query: &mut QueryBuilder<Sqlite>, filter: &JobFilter) -> sqlx::Result<()> {
    let dead = JobFilter {
        states: Vec::new(),
        ..filter.clone()
    };
    read::matching(query, &dead)
}

async fn count(tx: &mut Tx, filter: &JobFilter) -> sqlx::Result<u64> {
    let mut query = QueryBuilder::new("SELECT count(*) FROM job WHERE state = 5");
    matching(&mut query, filter)?;
    let count: i64 = query.build_query_scalar().fetch_one(&mut **tx).await?;
    Ok(count.unsigned_abs())
}

pub(super) async fn dead_groups(
    store: &SqliteStore,
    filter: &JobFilter,
    limit: u32,
) -> sqlx::Result<Vec<DeadGroup>> {
    #[derive(sqlx::FromRow)]
    struct Group {
        fingerprint: String,
        kind: String,
        code: String,
        count: i64,
        first_at: i64,
        last_at: i64,
        sample: Uuid,
        message: String,
    }
    let mut query = QueryBuilder::new(
        "SELECT g.*, (SELECT error_message FROM job WHERE job.id = g.sample) AS message FROM (
             SELECT coalesce(fingerprint, '') AS fingerprint, kind, error_code AS code,
                    count(*) AS count, min(finished_at) AS first_at,
                    max(finished_at) AS last_at, max(id) AS sample
             FROM job WHERE state = 5",
    );
    matching(&mut query, filter)?;
    query
        .push(" GROUP BY 1, 2, 3 ORDER BY 4 DESC, 7 DESC LIMIT ")
        .push_bind(limit)
        .push(") AS g");
    let groups: Vec<Group> = query.build_query_as().fetch_all(&store.readers).await?;
    let group = |group: Group| {
        Ok(DeadGroup {
            fingerprint: group.fingerprint,
            kind: group.kind,
            code: group.code,
            count: group.count.unsigned_abs(),
            first_at: clock::moment(group.first_at)?,
            last_at: clock::moment(group.last_at)?,
            sample: JobId::from(group.sample),
            message: group.message,
        })
    };
    groups.into_iter().map(group).collect()
}

pub(super) async fn begin(
    store: &SqliteStore,
    operation: &NewOperation,
) -> sqlx::Result<Operation> {
    let (mut tx, now) = store.write().await?;
    let found = count(&mut tx, &operation.filter).await?;
    let matched = operation.limit.map_or(found, |limit| found.min(limit));
    let filter = serde_json::to_string(&operation.filter);
    sqlx::query(
        "INSERT INTO operation (id, action, state, filter, most, rate, created_by, created_at,
                                matched, held_until, next_at)
         VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?7, ?8, ?7, ?7) ON CONFLICT (id) DO NOTHING",
    )
    .bind(operation.id.uuid())
    .bind(operation.action.as_str())
    .bind(filter.map_err(|error| sqlx::Error::Encode(error.into()))?)
    .bind(operation.limit.map(signed))
    .bind(operation.rate)
    .bind(&operation.created_by)
    .bind(now)
    .bind(signed(matched))
    .execute(&mut *tx)
    .await?;
    let begun = one_operation(&mut tx, operation.id).await?;
    tx.commit().await?;
    begun.ok_or(sqlx::Error::RowNotFound)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) async fn operation(
    store: &SqliteStore,
    id: OperationId,
) -> sqlx::Result<Option<Operation>> {
    let mut tx = store.read().await?;
    one_operation(&mut tx, id).await
}

async fn one_operation(tx: &mut Tx, id: OperationId) -> sqlx::Result<Option<Operation>> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM operation WHERE id = ?1"
    ))
    .bind(id.uuid())
    .fetch_optional(&mut **tx)
    .await?;
    row.map(Operation::try_from).transpose()
}

pub(super) async fn operations(
    store: &SqliteStore,
    limit: u32,
    before: Option<OperationId>,
) -> sqlx::Result<Vec<Operation>> {
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM operation WHERE ?1 IS NULL OR id < ?1 ORDER BY id DESC LIMIT ?2"
    ))
    .bind(before.map(OperationId::uuid))
    .bind(limit)
    .fetch_all(&store.readers)
    .await?;
    rows.into_iter().map(Operation::try_from).collect()
}

pub(super) async fn command(
    store: &SqliteStore,
    id: OperationId,
    command: OperationCommand,
    by: &str,
) -> sqlx::Result<Option<Operation>> {
    let (mut tx, now) = store.write().await?;
    let Some(operation) = one_operation(&mut tx, id).await? else {
        return Ok(None);
    };
    let after = operation.state.after(command);
    let Some(state) = after.filter(|state| *state != operation.state) else {
        return Ok(Some(operation));
    };
    sqlx::query(
        "UPDATE operation SET state = ?2, changed_by = ?3, changed_at = ?4,
                              finished_at = iif(?5, ?4, NULL)
         WHERE id = ?1",
    )
    .bind(id.uuid())
    .bind(state.code())
    .bind(by)
    .bind(now)
    .bind(state.is_final())
    .execute(&mut *tx)
    .await?;
    let changed = one_operation(&mut tx, id).await?;
    tx.commit().await?;
    Ok(changed)
}

pub(super) async fn advance(
    store: &SqliteStore,
    by: &StepBy,
    only: Option<OperationId>,
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
    let (picked, last) = pick(&mut tx, &operation, place, batch).await?;
    let ids: Vec<JobId> = picked.iter().map(|picked| picked.id).collect();
    let done = ids.len() as u64;
    let place = ids.last().map(|id| id.uuid()).or(place);
    let entry = match operation.action {
        Action::Requeue => {
            one::send_back(&mut tx, now, &ids).await?;
            let anew = |picked: Publication| Publication {
                dispatch: picked.dispatch + 1,
                ..picked
            };
            let publications = picked.into_iter().map(anew).collect();
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

/// The next jobs in order, and whether they are the last. The write lock is held: nobody takes
/// one of them meanwhile, so none is skipped.
async fn pick(
    tx: &mut Tx,
    operation: &Operation,
    place: Option<Uuid>,
    batch: u32,
) -> sqlx::Result<(Vec<Publication>, bool)> {
    let mut query = QueryBuilder::new(concat!(
        "SELECT ",
        publication!(),
        " FROM job WHERE id IN (SELECT id FROM job WHERE state = 5"
    ));
    matching(&mut query, &operation.filter)?;
    query
        .push(" AND finished_at <= ")
        .push_bind(operation.created_at.timestamp_micros());
    if let Some(place) = place {
        query.push(" AND id > ").push_bind(place);
    }
    query
        .push(" ORDER BY id LIMIT ")
        .push_bind(batch)
        .push(") ORDER BY id");
    let found: Vec<PublicationRow> = query.build_query_as().fetch_all(&mut **tx).await?;
    let last = found.len() < batch as usize;
    let all = found.len();
    let mut bytes = 0;
    let mut picked = Vec::with_capacity(all);
    for row in found {
        if bytes >= STEP_BYTES {
            break;
        }
        let publication = Publication::try_from(row)?;
        bytes += publication.payload.len();
        picked.push(publication);
    }
    let whole = picked.len() == all;
    Ok((picked, last && whole))
}
