//! Operations on many dead jobs, as they are kept; [`steps`](super::steps) executes them.

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde_json::json;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::audit;
use super::error::Fault;
use super::filter::push_filter;
use super::transaction::{micros, unsigned};
use crate::job::UniqueKey;
use crate::store::operation::PUT_OFF;
use crate::store::{
    Action, Begun, ErrorPattern, JobFilter, NewOperation, Operation, OperationCommand, OperationId,
    OperationState,
};

/// The columns of a [`Row`].
macro_rules! columns {
    () => {
        "id, action, state, filter, most, rate, created_by, created_at, changed_by, changed_at,
         finished_at, matched, done, skipped, failed"
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
    created_at: DateTime<Utc>,
    changed_by: Option<String>,
    changed_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    matched: i64,
    done: i64,
    skipped: i64,
    failed: i64,
}

impl TryFrom<Row> for Operation {
    type Error = Fault;

    fn try_from(row: Row) -> Result<Self, Fault> {
        let corrupt = |what: &str| Fault::corrupt(format!("{what} of operation {}", row.id));
        Ok(Self {
            id: OperationId::from(row.id),
            action: Action::from_name(&row.action).ok_or_else(|| corrupt("the action"))?,
            state: OperationState::from_code(row.state).ok_or_else(|| corrupt("the state"))?,
            // One that cannot be read keeps nobody from seeing the others, and from cancelling it.
            filter: serde_json::from_str(&row.filter).ok(),
            limit: row.most.map(unsigned),
            rate: row.rate,
            created_by: row.created_by,
            created_at: row.created_at,
            changed_by: row.changed_by,
            changed_at: row.changed_at,
            finished_at: row.finished_at,
            matched: unsigned(row.matched),
            done: unsigned(row.done),
            skipped: unsigned(row.skipped),
            failed: unsigned(row.failed),
        })
    }
}

/// Appends the condition of a dead job `x` that matches.
pub(super) fn push_dead(query: &mut QueryBuilder<Postgres>, filter: &JobFilter) {
    query.push(" FROM longshore.done x WHERE x.state = 5");
    push_filter(query, filter);
}

pub(super) async fn count_dead(tx: &mut PgConnection, filter: &JobFilter) -> Result<u64, Fault> {
    if let Some(pattern) = filter.pattern().map_err(Fault::corrupt)? {
        return count_matching(tx, filter, &pattern).await;
    }
    let mut query = QueryBuilder::new("SELECT count(*)");
    push_dead(&mut query, filter);
    let count: i64 = query.build_query_scalar().fetch_one(tx).await?;
    Ok(unsigned(count))
}

/// The errors' texts pass by one by one.
async fn count_matching(
    tx: &mut PgConnection,
    filter: &JobFilter,
    pattern: &ErrorPattern,
) -> Result<u64, Fault> {
    let mut query = QueryBuilder::new("SELECT x.error_code || ': ' || x.error_message");
    push_dead(&mut query, filter);
    let mut errors = query.build_query_scalar::<String>().fetch(tx);
    let mut count = 0;
    while let Some(error) = errors.try_next().await? {
        count += u64::from(pattern.matches(&error));
    }
    Ok(count)
}

pub(super) async fn begin(
    tx: &mut PgConnection,
    operation: &NewOperation,
) -> Result<Operation, Fault> {
    let found = count_dead(tx, &operation.filter).await?;
    let matched = operation.limit.map_or(found, |limit| found.min(limit));
    let filter = serde_json::to_string(&operation.filter).map_err(Fault::corrupt)?;
    let begun = sqlx::query(
        "INSERT INTO longshore.operation (id, action, state, filter, most, rate, created_by,
                                          created_at, matched, held_until, next_at)
         VALUES ($1, $2, 0, $3, $4, $5, $6, now(), $7, now(), now())
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(operation.id.uuid())
    .bind(operation.action.as_str())
    .bind(filter)
    .bind(operation.limit.map(signed))
    .bind(operation.rate)
    .bind(&operation.created_by)
    .bind(signed(matched))
    .execute(&mut *tx)
    .await?;
    if begun.rows_affected() > 0 {
        let (by, target) = (&operation.created_by, operation.id.to_string());
        let detail = operation.detail(matched);
        audit::note(tx, by, operation.action.into(), &target, &detail).await?;
    }
    let begun = one_operation(tx, operation.id, false).await?;
    begun.ok_or_else(|| Fault::corrupt(format!("operation {} has vanished", operation.id)))
}

/// The key's row is inserted first: of two requests at once the second waits for the first, and
/// then finds what it began.
pub(super) async fn begin_once(
    tx: &mut PgConnection,
    operation: &NewOperation,
    key: &UniqueKey,
) -> Result<Begun, Fault> {
    let taken = sqlx::query(
        "INSERT INTO longshore.unique_key (scope, key, fingerprint, job, created_at, expires_at)
         VALUES ($1, $2, $3, $4, now(), now() + interval '24 hours')
         ON CONFLICT (scope, key) DO NOTHING",
    )
    .bind(&key.scope)
    .bind(&key.key)
    .bind(&key.fingerprint)
    .bind(operation.id.uuid())
    .execute(&mut *tx)
    .await?;
    if taken.rows_affected() > 0 {
        return Ok(Begun::Now(begin(tx, operation).await?));
    }
    let (id, fingerprint): (Uuid, Vec<u8>) = sqlx::query_as(
        "SELECT job, fingerprint FROM longshore.unique_key WHERE scope = $1 AND key = $2",
    )
    .bind(&key.scope)
    .bind(&key.key)
    .fetch_one(&mut *tx)
    .await?;
    if fingerprint != key.fingerprint {
        return Ok(Begun::KeyReused);
    }
    let before = one_operation(tx, OperationId::from(id), false).await?;
    let gone = || Fault::corrupt(format!("operation {id} has vanished"));
    Ok(Begun::Before(before.ok_or_else(gone)?))
}

/// After a step of it has failed.
pub(super) async fn put_off(tx: &mut PgConnection, id: Uuid) -> Result<(), Fault> {
    sqlx::query(
        "UPDATE longshore.operation SET next_at = now() + $2 * interval '1 microsecond'
         WHERE id = $1 AND state = 0",
    )
    .bind(id)
    .bind(micros(PUT_OFF))
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) async fn one_operation(
    tx: &mut PgConnection,
    id: OperationId,
    lock: bool,
) -> Result<Option<Operation>, Fault> {
    let query = if lock {
        concat!(
            "SELECT ",
            columns!(),
            " FROM longshore.operation WHERE id = $1 FOR NO KEY UPDATE"
        )
    } else {
        concat!(
            "SELECT ",
            columns!(),
            " FROM longshore.operation WHERE id = $1"
        )
    };
    let row: Option<Row> = sqlx::query_as(query)
        .bind(id.uuid())
        .fetch_optional(tx)
        .await?;
    row.map(Operation::try_from).transpose()
}

pub(super) async fn operations(
    tx: &mut PgConnection,
    limit: u32,
    before: Option<OperationId>,
) -> Result<Vec<Operation>, Fault> {
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM longshore.operation WHERE id < COALESCE($1, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
         ORDER BY id DESC LIMIT $2"
    ))
    .bind(before.map(OperationId::uuid))
    .bind(i64::from(limit))
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(Operation::try_from).collect()
}

/// The row is locked: a step that is under way commits first, and the next one finds what was
/// commanded.
pub(super) async fn command(
    tx: &mut PgConnection,
    id: OperationId,
    command: OperationCommand,
    by: &str,
) -> Result<Option<Operation>, Fault> {
    let Some(operation) = one_operation(tx, id, true).await? else {
        return Ok(None);
    };
    let Some(state) = operation.state.after(command) else {
        return Ok(Some(operation));
    };
    if state == operation.state {
        return Ok(Some(operation));
    }
    sqlx::query(
        "UPDATE longshore.operation
         SET state = $2, changed_by = $3, changed_at = now(),
             finished_at = CASE WHEN $4 THEN now() END
         WHERE id = $1",
    )
    .bind(id.uuid())
    .bind(state.code())
    .bind(by)
    .bind(state.is_final())
    .execute(&mut *tx)
    .await?;
    let detail = json!({"done": operation.done});
    audit::note(tx, by, command.into(), &id.to_string(), &detail).await?;
    one_operation(tx, id, false).await
}
