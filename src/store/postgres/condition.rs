use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::error::Fault;
use super::transaction::{COLD, transact};
use super::{CONNECTIONS, EFFECTS, PostgresStore, READS};
use crate::store::{Condition, Inspect, Room, StoreError, StoreResult};

/// The oldest version whose dialect the schema is written in, as `server_version_num` has it.
const OLDEST: i32 = 150_000;

#[async_trait]
impl Inspect for PostgresStore {
    async fn condition(&self) -> StoreResult<Condition> {
        let answer = transact!(self.reads, COLD, |tx| condition(&mut tx));
        match answer {
            // The pool tells only that it has waited.
            Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)) => {
                Err(self.unreachable().await)
            }
            answer => answer,
        }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    version: i32,
    standby: bool,
    read_only: bool,
    schema_exists: bool,
    may_create: bool,
    may_use: bool,
    unwritable: Vec<String>,
    owner: Option<String>,
    role: String,
    max_connections: i32,
    database_limit: i32,
    role_limit: i32,
    taken: i64,
}

async fn condition(tx: &mut PgConnection) -> Result<Condition, Fault> {
    let row: Row = sqlx::query_as(
        "SELECT current_setting('server_version_num')::integer AS version,
                pg_is_in_recovery() AS standby,
                current_setting('transaction_read_only')::boolean AS read_only,
                to_regnamespace('longshore') IS NOT NULL AS schema_exists,
                CASE WHEN to_regnamespace('longshore') IS NULL
                     THEN has_database_privilege(current_database(), 'CREATE')
                     ELSE has_schema_privilege('longshore', 'CREATE') END AS may_create,
                COALESCE(has_schema_privilege(to_regnamespace('longshore')::oid, 'USAGE'), true)
                    AS may_use,
                ARRAY(SELECT c.relname::text FROM pg_class c
                      WHERE c.relnamespace = to_regnamespace('longshore')::oid
                        AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                        AND NOT (has_table_privilege(c.oid, 'SELECT')
                                 AND has_table_privilege(c.oid, 'INSERT')
                                 AND has_table_privilege(c.oid, 'UPDATE')
                                 AND has_table_privilege(c.oid, 'DELETE'))
                      ORDER BY 1) AS unwritable,
                (SELECT min(c.relowner::regrole::text) FROM pg_class c
                 WHERE c.relnamespace = to_regnamespace('longshore')::oid AND c.relkind = 'p'
                   AND NOT pg_has_role(c.relowner, 'USAGE')) AS owner,
                current_user::text AS role,
                current_setting('max_connections')::integer
                    - current_setting('superuser_reserved_connections')::integer
                    AS max_connections,
                (SELECT datconnlimit FROM pg_database WHERE datname = current_database())
                    AS database_limit,
                (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role_limit,
                (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
                    AS taken",
    )
    .fetch_one(&mut *tx)
    .await?;
    let limits = [row.max_connections, row.database_limit, row.role_limit];
    let most = limits.into_iter().filter(|limit| *limit >= 0).min();
    let unsigned = |number: i64| u32::try_from(number).unwrap_or_default();
    Ok(Condition {
        too_old: (row.version < OLDEST).then(|| format!("version {}", row.version / 10_000)),
        read_only: match (row.standby, row.read_only) {
            (true, _) => Some("this server is a standby".to_owned()),
            (false, true) => Some("`default_transaction_read_only` is on".to_owned()),
            (false, false) => None,
        },
        cannot_create: (!row.may_create).then(|| {
            let role = &row.role;
            match row.schema_exists {
                true => format!("role `{role}` may not create in the schema `longshore`"),
                false => format!("role `{role}` may not create a schema in this database"),
            }
        }),
        cannot_work: cannot_work(&row),
        connections: Some(Room {
            most: unsigned(most.unwrap_or_default().into()),
            taken: unsigned(row.taken),
            // And one for beats.
            needed: CONNECTIONS + READS + EFFECTS + 1,
        }),
        clock_ahead: clock_ahead(tx).await?,
        free_bytes: None,
    })
}

/// Every process makes the partitions of the days that come, for which it must own the tables.
fn cannot_work(row: &Row) -> Option<String> {
    let role = &row.role;
    if !row.may_use {
        return Some(format!("role `{role}` may not use the schema `longshore`"));
    }
    if !row.unwritable.is_empty() {
        let tables = row.unwritable.join(", ");
        return Some(format!(
            "role `{role}` may not write these tables of the schema `longshore`: {tables}"
        ));
    }
    let owner = row.owner.as_ref()?;
    Some(format!(
        "role `{role}` does not own the tables of the schema `longshore`, which belong to {owner}: \
         it cannot make the partitions of the days that come"
    ))
}

/// Compared with the middle of the way there and back.
async fn clock_ahead(tx: &mut PgConnection) -> Result<f64, Fault> {
    let asked = std::time::Instant::now();
    let theirs: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(tx)
        .await?;
    let half = chrono::TimeDelta::from_std(asked.elapsed() / 2);
    let ours = Utc::now() - half.unwrap_or_default();
    let ahead = theirs.signed_duration_since(ours);
    Ok(ahead.as_seconds_f64().clamp(-LONGEST, LONGEST))
}

/// Beyond this a clock is wrong, however far.
const LONGEST: f64 = Duration::from_secs(10 * 365 * 24 * 3600).as_secs() as f64;
