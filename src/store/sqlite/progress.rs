use async_trait::async_trait;

use super::SqliteStore;
use super::error::classify;
use crate::store::{ProgressNote, ProgressNotes, StoreResult};

#[async_trait]
impl ProgressNotes for SqliteStore {
    async fn note_progress(&self, notes: &[ProgressNote]) -> StoreResult<()> {
        if notes.is_empty() {
            return Ok(());
        }
        note(self, notes).await.map_err(classify)
    }
}

async fn note(store: &SqliteStore, notes: &[ProgressNote]) -> sqlx::Result<()> {
    let (mut tx, now) = store.write().await?;
    for note in notes {
        sqlx::query(
            "INSERT INTO progress (id, owner, epoch, fraction, message, at)
             SELECT id, owner, epoch, ?4, ?5, ?6 FROM job
             WHERE id = ?1 AND owner = ?2 AND epoch = ?3 AND state = 2
             ON CONFLICT (id) DO UPDATE
             SET owner = excluded.owner, epoch = excluded.epoch, fraction = excluded.fraction,
                 message = excluded.message, at = excluded.at",
        )
        .bind(note.fence.id.uuid())
        .bind(note.fence.owner.0)
        .bind(note.fence.epoch)
        .bind(note.progress.fraction)
        .bind(&note.progress.message)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await
}
