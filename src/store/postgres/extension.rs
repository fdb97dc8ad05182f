use std::collections::HashSet;

use async_trait::async_trait;
use sqlx::PgConnection;

use super::PostgresStore;
use super::error::Fault;
use super::schema::LOCK;
use super::transaction::{COLD, MIGRATION, WIDE, transact};
use crate::store::{Balance, Extensions, Migration, StoreResult};

#[async_trait]
impl Extensions for PostgresStore {
    async fn missing(&self, migrations: &[Migration]) -> StoreResult<Vec<&'static str>> {
        if migrations.is_empty() {
            return Ok(Vec::new());
        }
        let found = transact!(self.reads, COLD, |tx| missing(&mut tx, migrations));
        Ok(found?.iter().map(|migration| migration.name).collect())
    }

    async fn extend(&self, migrations: &[Migration]) -> StoreResult<usize> {
        if migrations.is_empty() {
            return Ok(0);
        }
        transact!(self.reads, MIGRATION, |tx| extend(&mut tx, migrations))
    }

    async fn differences(&self, balance: &Balance) -> StoreResult<Vec<String>> {
        let _place = self.wide().await?;
        transact!(self.reads, WIDE, |tx| differences(&mut tx, balance))
    }
}

async fn missing<'m>(
    tx: &mut PgConnection,
    migrations: &'m [Migration],
) -> Result<Vec<&'m Migration>, Fault> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('longshore.extension') IS NOT NULL")
        .fetch_one(&mut *tx)
        .await?;
    if !exists {
        return Ok(migrations.iter().collect());
    }
    let applied: Vec<String> = sqlx::query_scalar("SELECT name FROM longshore.extension")
        .fetch_all(tx)
        .await?;
    let applied: HashSet<String> = applied.into_iter().collect();
    Ok(migrations
        .iter()
        .filter(|migration| !applied.contains(migration.name))
        .collect())
}

async fn extend(tx: &mut PgConnection, migrations: &[Migration]) -> Result<usize, Fault> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *tx)
        .await?;
    sqlx::raw_sql(
        "SET LOCAL lock_timeout = '5s';
         CREATE TABLE IF NOT EXISTS longshore.extension
             (name text PRIMARY KEY, applied_at timestamptz NOT NULL)",
    )
    .execute(&mut *tx)
    .await?;
    let missing = missing(tx, migrations).await?;
    for migration in &missing {
        sqlx::raw_sql(migration.postgres).execute(&mut *tx).await?;
        sqlx::query("INSERT INTO longshore.extension VALUES ($1, now())")
            .bind(migration.name)
            .execute(&mut *tx)
            .await?;
    }
    Ok(missing.len())
}

async fn differences(tx: &mut PgConnection, balance: &Balance) -> Result<Vec<String>, Fault> {
    Ok(sqlx::query_scalar(balance.postgres).fetch_all(tx).await?)
}
