use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::day;
use super::error::Fault;
use crate::store::{Schema, StoreError};

/// In order; a migration that has been released never changes.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "store", include_str!("migrations/0001_store.sql")),
    (2, "keys", include_str!("migrations/0002_keys.sql")),
    (
        3,
        "operations",
        include_str!("migrations/0003_operations.sql"),
    ),
    (4, "door", include_str!("migrations/0004_door.sql")),
    (5, "control", include_str!("migrations/0005_control.sql")),
    (6, "breaker", include_str!("migrations/0006_breaker.sql")),
    (7, "audit", include_str!("migrations/0007_audit.sql")),
    (8, "progress", include_str!("migrations/0008_progress.sql")),
    (9, "ends", include_str!("migrations/0009_ends.sql")),
];

/// Also held while partitions are made, for they are part of the schema.
pub(super) const LOCK: i64 = 0x6c6f_6e67_7368_6f72;

/// How far the database is; it may hold nothing at all.
pub(super) async fn read(tx: &mut PgConnection) -> Result<Schema, Fault> {
    let (applied, newest) = applied(tx).await?;
    let known = MIGRATIONS.len();
    let last = MIGRATIONS.last().map_or(0, |(version, ..)| *version);
    Ok(if newest > last {
        Schema::Newer { version: newest }
    } else if applied < known {
        Schema::Behind { applied, known }
    } else {
        Schema::Current
    })
}

/// How many migrations are applied, and the newest one's number.
async fn applied(tx: &mut PgConnection) -> Result<(usize, i64), Fault> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('longshore.migration') IS NOT NULL")
        .fetch_one(&mut *tx)
        .await?;
    if !exists {
        return Ok((0, 0));
    }
    let (count, newest): (i64, i64) =
        sqlx::query_as("SELECT count(*), COALESCE(max(version), 0) FROM longshore.migration")
            .fetch_one(tx)
            .await?;
    Ok((usize::try_from(count).unwrap_or_default(), newest))
}

/// Applies what is missing, all of it or nothing, and makes the partitions of the next days.
///
/// A second migrator waits for the lock, and as the lock comes first, what it reads afterwards
/// is what the first one has committed.
pub(super) async fn migrate(tx: &mut PgConnection) -> Result<usize, Fault> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *tx)
        .await?;
    // From here on others may be at work on the tables, who must not queue up behind us.
    sqlx::raw_sql("SET LOCAL lock_timeout = '5s'")
        .execute(&mut *tx)
        .await?;
    if let Schema::Newer { version } = read(tx).await? {
        return Err(StoreError::Schema(format!(
            "a newer version of longshore has migrated the database (to {version}): upgrade this one"
        ))
        .into());
    }
    sqlx::raw_sql(
        "CREATE SCHEMA IF NOT EXISTS longshore;
         CREATE TABLE IF NOT EXISTS longshore.migration
             (version bigint PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL)",
    )
    .execute(&mut *tx)
    .await?;
    let done: Vec<i64> = sqlx::query_scalar("SELECT version FROM longshore.migration")
        .fetch_all(&mut *tx)
        .await?;
    let mut ran = 0;
    for (version, name, statements) in MIGRATIONS {
        if !done.contains(version) {
            apply(tx, *version, name, statements).await?;
            ran += 1;
        }
    }
    day::create_ahead(tx).await?;
    Ok(ran)
}

async fn apply(
    tx: &mut PgConnection,
    version: i64,
    name: &str,
    statements: &'static str,
) -> Result<(), Fault> {
    sqlx::raw_sql(statements).execute(&mut *tx).await?;
    sqlx::query("INSERT INTO longshore.migration VALUES ($1, $2, now())")
        .bind(version)
        .bind(name)
        .execute(tx)
        .await?;
    Ok(())
}

/// `PostgreSQL 15.18`, without the packager's addition.
pub(super) async fn version(tx: &mut PgConnection) -> Result<String, Fault> {
    let version: String = sqlx::query_scalar("SELECT current_setting('server_version')")
        .fetch_one(tx)
        .await?;
    let number = version.split_whitespace().next().unwrap_or(&version);
    Ok(format!("PostgreSQL {number}"))
}

pub(super) async fn now(tx: &mut PgConnection) -> Result<DateTime<Utc>, Fault> {
    Ok(sqlx::query_scalar("SELECT now()").fetch_one(tx).await?)
}

pub(super) async fn ping(tx: &mut PgConnection) -> Result<(), Fault> {
    sqlx::raw_sql("SELECT").execute(tx).await?;
    Ok(())
}
