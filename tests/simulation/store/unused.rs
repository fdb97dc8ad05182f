//! What no simulated process asks. A new method of a store that none of them uses is one line that answers
//! `unused()`.

use async_trait::async_trait;
use longshore::job::{Kind, QueueName};
use longshore::store::{
    ApiKey, Audit, AuditEntry, AuditFilter, Balance, Door, Extensions, InFlight, KeyId, Keyring,
    Migration, NewKey, ProgressNote, ProgressNotes, Sheet, StoreResult, Sums, Verify,
};

use super::{SimulatedStore, unused};

#[async_trait]
impl Extensions for SimulatedStore {
    async fn missing(&self, _: &[Migration]) -> StoreResult<Vec<&'static str>> {
        unused()
    }

    async fn extend(&self, _: &[Migration]) -> StoreResult<usize> {
        unused()
    }

    async fn differences(&self, _: &Balance) -> StoreResult<Vec<String>> {
        unused()
    }
}

#[async_trait]
impl Keyring for SimulatedStore {
    async fn create_key(&self, _: &NewKey, _: &str) -> StoreResult<Option<ApiKey>> {
        unused()
    }

    async fn keys(&self) -> StoreResult<Vec<ApiKey>> {
        unused()
    }

    async fn revoke_key(&self, _: KeyId, _: &str) -> StoreResult<bool> {
        unused()
    }

    async fn touch_keys(&self, _: &[KeyId]) -> StoreResult<()> {
        unused()
    }
}

#[async_trait]
impl Door for SimulatedStore {
    async fn announce_kinds(&self, _: &[(Kind, QueueName)]) -> StoreResult<()> {
        unused()
    }

    async fn announced_queue(&self, _: &Kind) -> StoreResult<Option<QueueName>> {
        Ok(None)
    }
}

#[async_trait]
impl Audit for SimulatedStore {
    async fn audit(
        &self,
        _: &AuditFilter,
        _: u32,
        _: Option<uuid::Uuid>,
    ) -> StoreResult<Vec<AuditEntry>> {
        unused()
    }
}

#[async_trait]
impl Verify for SimulatedStore {
    async fn sheet(&self, _: &[Balance], _: &[Sums], _: u32) -> StoreResult<Sheet> {
        unused()
    }

    async fn in_flight(&self) -> StoreResult<Vec<InFlight>> {
        unused()
    }
}

#[async_trait]
impl ProgressNotes for SimulatedStore {
    async fn note_progress(&self, _: &[ProgressNote]) -> StoreResult<()> {
        Ok(())
    }
}
