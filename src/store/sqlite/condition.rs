use async_trait::async_trait;

use super::SqliteStore;
use super::error::classify;
use crate::store::{Condition, Inspect, StoreResult};

#[async_trait]
impl Inspect for SqliteStore {
    async fn condition(&self) -> StoreResult<Condition> {
        // Taking the lock for writing writes nothing, and tells whether one could.
        let read_only = match self.write().await {
            Ok((tx, _)) => {
                tx.rollback().await.map_err(classify)?;
                None
            }
            Err(sqlx::Error::Database(error)) => Some(error.message().to_owned()),
            Err(error) => return Err(classify(error)),
        };
        let file: Option<String> =
            sqlx::query_scalar("SELECT file FROM pragma_database_list WHERE name = 'main'")
                .fetch_optional(&self.readers)
                .await
                .map_err(classify)?;
        let space = file.and_then(|file| rustix::fs::statvfs(file).ok());
        Ok(Condition {
            read_only,
            free_bytes: space.map(|space| space.f_bavail.saturating_mul(space.f_frsize)),
            ..Condition::default()
        })
    }
}
