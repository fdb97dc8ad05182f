use std::collections::HashSet;

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::SqliteStore;
use super::error::classify;
use crate::store::{Balance, Extensions, Migration, StoreResult};

#[async_trait]
impl Extensions for SqliteStore {
    async fn missing(&self, migrations: &[Migration]) -> StoreResult<Vec<&'static str>> {
        let mut tx = self.read().await.map_err(classify)?;
        let found = missing(&mut tx, migrations).await.map_err(classify)?;
        Ok(found.iter().map(|migration| migration.name).collect())
    }

    async fn extend(&self, migrations: &[Migration]) -> StoreResult<usize> {
        if migrations.is_empty() {
            return Ok(0);
        }
        extend(self, migrations).await.map_err(classify)
    }

    async fn differences(&self, balance: &Balance) -> StoreResult<Vec<String>> {
        sqlx::query_scalar(balance.sqlite)
            .fetch_all(&self.readers)
            .await
            .map_err(classify)
    }
}

async fn missing<'m>(
    db: &mut SqliteConnection,
    migrations: &'m [Migration],
) -> sqlx::Result<Vec<&'m Migration>> {
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'extension')")
            .fetch_one(&mut *db)
            .await?;
    if !exists {
        return Ok(migrations.iter().collect());
    }
    let applied: Vec<String> = sqlx::query_scalar("SELECT name FROM extension")
        .fetch_all(db)
        .await?;
    let applied: HashSet<String> = applied.into_iter().collect();
    Ok(migrations
        .iter()
        .filter(|migration| !applied.contains(migration.name))
        .collect())
}

async fn extend(store: &SqliteStore, migrations: &[Migration]) -> sqlx::Result<usize> {
    let (mut tx, now) = store.write().await?;
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS extension
             (name TEXT NOT NULL PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT",
    )
    .execute(&mut *tx)
    .await?;
    let missing = missing(&mut tx, migrations).await?;
    for migration in &missing {
        sqlx::raw_sql(migration.sqlite).execute(&mut *tx).await?;
        sqlx::query("INSERT INTO extension VALUES (?1, ?2)")
            .bind(migration.name)
            .bind(now)
            .execute(&mut *tx)
            .await?;
    }
    let applied = missing.len();
    tx.commit().await?;
    Ok(applied)
}
