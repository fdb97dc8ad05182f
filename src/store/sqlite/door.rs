use async_trait::async_trait;

use super::SqliteStore;
use crate::job::{Kind, QueueName};
use crate::store::{Door, StoreResult};

#[async_trait]
impl Door for SqliteStore {
    async fn announce_kinds(&self, _: &[(Kind, QueueName)]) -> StoreResult<()> {
        Ok(())
    }

    async fn announced_queue(&self, _: &Kind) -> StoreResult<Option<QueueName>> {
        Ok(None)
    }
}
