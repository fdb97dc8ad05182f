use async_trait::async_trait;
use serde_json::json;
use sqlx::{Sqlite, Transaction};

use super::error::classify;
use super::insert::count_accepted;
use super::{SqliteStore, audit, rows};
use crate::job::{JobError, ProcessId, fingerprint};
use crate::store::{Deed, Letters, NewLetter, StoreResult};

type Tx = Transaction<'static, Sqlite>;

#[async_trait]
impl Letters for SqliteStore {
    async fn import(
        &self,
        letters: &[NewLetter],
        by: &str,
        source: &str,
    ) -> StoreResult<Vec<bool>> {
        if letters.is_empty() {
            return Ok(Vec::new());
        }
        import(self, letters, by, source).await.map_err(classify)
    }
}

async fn import(
    store: &SqliteStore,
    letters: &[NewLetter],
    by: &str,
    source: &str,
) -> sqlx::Result<Vec<bool>> {
    let (mut tx, now) = store.write().await?;
    let mut imported = Vec::with_capacity(letters.len());
    for letter in letters {
        imported.push(enter(&mut tx, now, letter).await?);
    }
    let count = imported.iter().filter(|new| **new).count();
    if count > 0 {
        // Nobody's in particular, as pruning is.
        count_accepted(&mut tx, ProcessId(0), count).await?;
        let detail = json!({"letters": letters.len(), "imported": count});
        audit::note(&mut tx, now, by, Deed::Import, source, &detail).await?;
    }
    tx.commit().await?;
    Ok(imported)
}

async fn enter(tx: &mut Tx, now: i64, letter: &NewLetter) -> sqlx::Result<bool> {
    let ended: Option<i64> =
        sqlx::query_scalar("SELECT state FROM tombstone WHERE id = ?1 AND state <> 5")
            .bind(letter.id.uuid())
            .fetch_optional(&mut **tx)
            .await?;
    if ended.is_some() {
        // It was sent back since the export, and has come to another end.
        return Ok(false);
    }
    let error = &letter.error;
    let new = sqlx::query(
        "INSERT INTO job (id, state, dispatch, epoch, created_at, finished_at, kind, queue, high,
                          max_attempts, tags, error_code, error_message, error_class,
                          fingerprint, original_payload, payload)
         VALUES (?1, 5, coalesce((SELECT dispatch FROM tombstone WHERE id = ?1), 0),
                 coalesce((SELECT epoch FROM tombstone WHERE id = ?1), 0),
                 ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(letter.id.uuid())
    .bind(letter.created_at.timestamp_micros())
    .bind(now)
    .bind(letter.kind.as_str())
    .bind(letter.queue.as_str())
    .bind(letter.priority.is_high())
    .bind(letter.max_attempts)
    .bind(rows::batch(&letter.tags)?)
    .bind(&error.code)
    .bind(&error.message)
    .bind(error.class.as_str())
    .bind(fingerprint(
        letter.kind.as_str(),
        &error.code,
        &error.message,
    ))
    .bind(&letter.original_payload)
    .bind(&letter.payload)
    .execute(&mut **tx)
    .await?;
    if new.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("DELETE FROM tombstone WHERE id = ?1")
        .bind(letter.id.uuid())
        .execute(&mut **tx)
        .await?;
    for (number, attempt) in (1_i64..).zip(&letter.attempts) {
        let error: &JobError = attempt.error.as_ref().unwrap_or(error);
        sqlx::query(
            "INSERT INTO attempt (job, number, worker, started_at, finished_at, error_code,
                                  error_message, error_class)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(letter.id.uuid())
        .bind(number)
        .bind(&attempt.worker)
        .bind(attempt.started_at.map(|at| at.timestamp_micros()))
        .bind(attempt.finished_at.timestamp_micros())
        .bind(&error.code)
        .bind(&error.message)
        .bind(error.class.as_str())
        .execute(&mut **tx)
        .await?;
    }
    Ok(true)
}
