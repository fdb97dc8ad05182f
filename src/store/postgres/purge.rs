use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Fault;
use super::prune;

/// Removes dead jobs whose rows of `done` are locked, and counts them as pruned.
///
/// Their id and dispatch are kept however old they are: a purge comes at any time, so the id's
/// age does not tell whoever finds an old copy of the message that its job is gone. Their unique
/// keys live on for a day, so that a repetition that is under way is still recognised.
pub(super) async fn purge(tx: &mut PgConnection, ids: &[Uuid]) -> Result<usize, Fault> {
    if ids.is_empty() {
        return Ok(0);
    }
    sqlx::query(
        "INSERT INTO longshore.tombstone (id, state, dispatch, epoch, purged)
         SELECT id, state, dispatch, epoch, true FROM longshore.done WHERE id = ANY ($1)
         ON CONFLICT (id) DO UPDATE
         SET state = excluded.state, dispatch = excluded.dispatch, epoch = excluded.epoch,
             purged = true",
    )
    .bind(ids)
    .execute(&mut *tx)
    .await?;
    prune::remove(tx, ids, "now()").await?;
    prune::count(tx, ids.len() as u64).await?;
    Ok(ids.len())
}
