use async_trait::async_trait;
use serde_json::json;
use sqlx::PgConnection;

use super::PostgresStore;
use super::audit;
use super::error::Fault;
use super::transaction::{COLD, transact};
use crate::job::{JobError, fingerprint};
use crate::store::{Deed, Letters, NewLetter, StoreResult};

#[async_trait]
impl Letters for PostgresStore {
    async fn import(
        &self,
        letters: &[NewLetter],
        by: &str,
        source: &str,
    ) -> StoreResult<Vec<bool>> {
        if letters.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self.reads, COLD, |tx| import(&mut tx, letters, by, source))
    }
}

/// In the order of ids, as every batch: two imports of one file at once do not wait in a circle.
async fn import(
    tx: &mut PgConnection,
    letters: &[NewLetter],
    by: &str,
    source: &str,
) -> Result<Vec<bool>, Fault> {
    let mut order: Vec<usize> = (0..letters.len()).collect();
    order.sort_by_key(|at| letters.get(*at).map(|letter| letter.id));
    let mut imported = vec![false; letters.len()];
    for at in order {
        if let (Some(letter), Some(imported)) = (letters.get(at), imported.get_mut(at)) {
            *imported = enter(tx, letter).await?;
        }
    }
    let count = imported.iter().filter(|new| **new).count();
    if count > 0 {
        sqlx::query(
            "INSERT INTO longshore.tally AS t (process, slot, accepted)
             VALUES (0, pg_backend_pid() % 16, $1)
             ON CONFLICT (process, slot) DO UPDATE SET accepted = t.accepted + excluded.accepted",
        )
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .execute(&mut *tx)
        .await?;
        let detail = json!({"letters": letters.len(), "imported": count});
        audit::note(tx, by, Deed::Import, source, &detail).await?;
    }
    Ok(imported)
}

/// The row of `job` decides: where it is, the job is.
async fn enter(tx: &mut PgConnection, letter: &NewLetter) -> Result<bool, Fault> {
    let new = sqlx::query(
        "INSERT INTO longshore.job (id, kind, queue, payload, original_payload, high, tags,
                                    max_attempts, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING",
    )
    .bind(letter.id.uuid())
    .bind(letter.kind.as_str())
    .bind(letter.queue.as_str())
    .bind(&letter.payload)
    .bind(&letter.original_payload)
    .bind(letter.priority.is_high())
    .bind(&letter.tags)
    .bind(
        letter
            .max_attempts
            .and_then(|most| i32::try_from(most).ok()),
    )
    .bind(letter.created_at)
    .execute(&mut *tx)
    .await?;
    if new.rows_affected() == 0 {
        return Ok(false);
    }
    // A statement of its own, which sees what the insert may have waited for.
    let ended: Option<i16> =
        sqlx::query_scalar("SELECT state FROM longshore.tombstone WHERE id = $1 AND state <> 5")
            .bind(letter.id.uuid())
            .fetch_optional(&mut *tx)
            .await?;
    if ended.is_some() {
        // It was sent back since the export, and has come to another end. Its tags were entered
        // with its row, and are left by nothing else.
        sqlx::query(
            "WITH untagged AS (DELETE FROM longshore.tag WHERE id = $1)
             DELETE FROM longshore.job WHERE id = $1",
        )
        .bind(letter.id.uuid())
        .execute(&mut *tx)
        .await?;
        return Ok(false);
    }
    // Its key lives as long as it does.
    sqlx::query("UPDATE longshore.unique_key SET expires_at = NULL WHERE job = $1")
        .bind(letter.id.uuid())
        .execute(&mut *tx)
        .await?;
    let error = &letter.error;
    let attempts = i32::try_from(letter.attempts.len()).unwrap_or(i32::MAX);
    sqlx::query(
        "WITH remembered AS (
             DELETE FROM longshore.tombstone WHERE id = $1 RETURNING dispatch, epoch)
         INSERT INTO longshore.done (id, kind, queue, state, dispatch, epoch, failures, recorded,
                                     finished_at, error_code, error_message, error_class,
                                     fingerprint)
         SELECT $1, $2, $3, 5, COALESCE((SELECT dispatch FROM remembered), 0),
                COALESCE((SELECT epoch FROM remembered), 0), 0, $4, now(), $5, $6, $7, $8",
    )
    .bind(letter.id.uuid())
    .bind(letter.kind.as_str())
    .bind(letter.queue.as_str())
    .bind(attempts)
    .bind(&error.code)
    .bind(&error.message)
    .bind(error.class.as_str())
    .bind(fingerprint(
        letter.kind.as_str(),
        &error.code,
        &error.message,
    ))
    .execute(&mut *tx)
    .await?;
    for (number, attempt) in (1_i32..).zip(&letter.attempts) {
        let error: &JobError = attempt.error.as_ref().unwrap_or(error);
        sqlx::query(
            "INSERT INTO longshore.attempt (id, number, worker, started_at, finished_at,
                                            error_code, error_message, error_class)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(letter.id.uuid())
        .bind(number)
        .bind(&attempt.worker)
        .bind(attempt.started_at)
        .bind(attempt.finished_at)
        .bind(&error.code)
        .bind(&error.message)
        .bind(error.class.as_str())
        .execute(&mut *tx)
        .await?;
    }
    Ok(true)
}
