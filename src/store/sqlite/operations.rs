//! Operations on many dead jobs, as they are kept; [`steps`](super::steps) executes them.

use futures::TryStreamExt;
use sqlx::types::Uuid;
use sqlx::{QueryBuilder, Sqlite, Transaction};

use super::{SqliteStore, audit, clock, read, rows};
use crate::job::UniqueKey;
use crate::store::{
    Action, Begun, ErrorPattern, JobFilter, NewOperation, Operation, OperationCommand, OperationId,
    OperationState,
};

type Tx = Transaction<'static, Sqlite>;

/// The columns of a [`Row`].
macro_rules! columns {
    () => {
        "id, action, state, filter, most, rate, created_by, created_at, changed_by, changed_at,
         finished_at, matched, done, skipped, failed, place, holder, entry"
    };
}
pub(super) use columns;

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    pub(super) id: Uuid,
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
    pub(super) place: Option<Uuid>,
    pub(super) holder: Option<Uuid>,
    pub(super) entry: Option<i64>,
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
            // One that cannot be read keeps nobody from seeing the others, and from cancelling it.
            filter: serde_json::from_str(&row.filter).ok(),
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
pub(super) fn matching(query: &mut QueryBuilder<Sqlite>, filter: &JobFilter) -> sqlx::Result<()> {
    let dead = JobFilter {
        states: Vec::new(),
        ..filter.clone()
    };
    read::matching(query, &dead)
}

async fn count(tx: &mut Tx, filter: &JobFilter) -> sqlx::Result<u64> {
    if let Some(pattern) = filter.pattern().map_err(rows::corrupt)? {
        return count_matching(tx, filter, &pattern).await;
    }
    let mut query = QueryBuilder::new("SELECT count(*) FROM job WHERE state = 5");
    matching(&mut query, filter)?;
    let count: i64 = query.build_query_scalar().fetch_one(&mut **tx).await?;
    Ok(count.unsigned_abs())
}

/// The errors' texts pass by one by one.
async fn count_matching(
    tx: &mut Tx,
    filter: &JobFilter,
    pattern: &ErrorPattern,
) -> sqlx::Result<u64> {
    let mut query =
        QueryBuilder::new("SELECT error_code || ': ' || error_message FROM job WHERE state = 5");
    matching(&mut query, filter)?;
    let mut errors = query.build_query_scalar::<String>().fetch(&mut **tx);
    let mut count = 0;
    while let Some(error) = errors.try_next().await? {
        count += u64::from(pattern.matches(&error));
    }
    Ok(count)
}

pub(super) async fn begin(
    store: &SqliteStore,
    operation: &NewOperation,
) -> sqlx::Result<Operation> {
    let (mut tx, now) = store.write().await?;
    let begun = enter(&mut tx, now, operation).await?;
    tx.commit().await?;
    Ok(begun)
}

async fn enter(tx: &mut Tx, now: i64, operation: &NewOperation) -> sqlx::Result<Operation> {
    let found = count(tx, &operation.filter).await?;
    let matched = operation.limit.map_or(found, |limit| found.min(limit));
    let filter = serde_json::to_string(&operation.filter);
    let begun = sqlx::query(
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
    .execute(&mut **tx)
    .await?;
    if begun.rows_affected() > 0 {
        let (by, target) = (&operation.created_by, operation.id.to_string());
        let detail = operation.detail(matched);
        audit::note(tx, now, by, operation.action.into(), &target, &detail).await?;
    }
    let begun = one_operation(tx, operation.id).await?;
    begun.ok_or(sqlx::Error::RowNotFound)
}

pub(super) async fn begin_once(
    store: &SqliteStore,
    operation: &NewOperation,
    key: &UniqueKey,
) -> sqlx::Result<Begun> {
    let (mut tx, now) = store.write().await?;
    let known: Option<(Uuid, Vec<u8>)> =
        sqlx::query_as("SELECT job, fingerprint FROM unique_key WHERE scope = ?1 AND key = ?2")
            .bind(&key.scope)
            .bind(&key.key)
            .fetch_optional(&mut *tx)
            .await?;
    match known {
        Some((_, fingerprint)) if fingerprint != key.fingerprint => Ok(Begun::KeyReused),
        Some((id, _)) => {
            let before = one_operation(&mut tx, OperationId::from(id)).await?;
            before.map(Begun::Before).ok_or(sqlx::Error::RowNotFound)
        }
        None => {
            sqlx::query(
                "INSERT INTO unique_key (scope, key, fingerprint, job, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .bind(&key.scope)
            .bind(&key.key)
            .bind(&key.fingerprint)
            .bind(operation.id.uuid())
            .bind(now)
            .execute(&mut *tx)
            .await?;
            let begun = enter(&mut tx, now, operation).await?;
            tx.commit().await?;
            Ok(Begun::Now(begun))
        }
    }
}

pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) async fn operation(
    store: &SqliteStore,
    id: OperationId,
) -> sqlx::Result<Option<Operation>> {
    let mut tx = store.read().await?;
    one_operation(&mut tx, id).await
}

pub(super) async fn one_operation(tx: &mut Tx, id: OperationId) -> sqlx::Result<Option<Operation>> {
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
    let detail = serde_json::json!({"done": operation.done});
    audit::note(&mut tx, now, by, command.into(), &id.to_string(), &detail).await?;
    let changed = one_operation(&mut tx, id).await?;
    tx.commit().await?;
    Ok(changed)
}
