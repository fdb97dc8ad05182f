use sqlx::{Sqlite, Transaction};

use super::rows;
use crate::job::JobId;

/// Removes jobs and counts them as pruned. Their id and dispatch are kept, so that no old copy
/// of a message is taken for one whose job the store has lost. Their unique keys live on for a
/// day from now, so that a repetition that is under way is still recognised.
pub(super) async fn purge(
    tx: &mut Transaction<'static, Sqlite>,
    now: i64,
    ids: &[JobId],
) -> sqlx::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let batch = rows::id_batch(ids.iter().copied())?;
    for statement in [
        "INSERT OR REPLACE INTO tombstone (id, state, dispatch, epoch)
         SELECT id, state, dispatch, epoch FROM job
         WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
        "DELETE FROM job WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
        "INSERT INTO tally (process, pruned) SELECT 0, json_array_length(?1) WHERE true
         ON CONFLICT (process) DO UPDATE SET pruned = pruned + excluded.pruned",
    ] {
        sqlx::query(statement)
            .bind(&batch)
            .execute(&mut **tx)
            .await?;
    }
    sqlx::query(
        "UPDATE unique_key SET created_at = ?2
         WHERE job IN (SELECT unhex(value) FROM json_each(?1))",
    )
    .bind(&batch)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
