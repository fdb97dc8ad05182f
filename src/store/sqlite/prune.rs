use std::time::Duration;

use sqlx::types::Uuid;

use super::{SqliteStore, audit, clock, rows};
use crate::store::Retention;

/// Jobs that one transaction removes at most, so that beats and claims get their turn.
const CHUNK: u64 = 1000;
/// How long a unique key is kept at least, by the contract of `Idempotency-Key`.
const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a tombstone is kept beyond the longest retention.
const TOMBSTONE_MARGIN: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// How long it is kept who did what to which jobs.
const OPERATIONS_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Jobs that are past their retention from this moment on.
struct Expired<'a> {
    /// `None`: every queue that is not in `named`.
    queue: Option<&'a str>,
    named: &'a str,
    /// The dead, or else the succeeded and the cancelled.
    dead: bool,
    kept: Duration,
}

/// In several transactions: each removes jobs and counts them, so the balance sheet adds up
/// after every one of them.
pub(super) async fn prune(
    store: &SqliteStore,
    retentions: &[Retention],
    fallback: &Retention,
) -> sqlx::Result<u64> {
    let queues: Vec<&str> = retentions
        .iter()
        .filter_map(|retention| retention.queue.as_ref())
        .map(AsRef::as_ref)
        .collect();
    let named = rows::batch(&queues)?;
    let of_queues = retentions
        .iter()
        .filter_map(|retention| Some((Some(retention.queue.as_ref()?.as_str()), retention)));
    let mut pruned = 0;
    for (queue, retention) in of_queues.chain([(None, fallback)]) {
        for (dead, kept) in [(false, retention.finished), (true, retention.dead)] {
            let expired = Expired {
                queue,
                named: &named,
                dead,
                kept,
            };
            loop {
                let removed = remove(store, &expired).await?;
                pruned += removed;
                if removed < CHUNK {
                    break;
                }
            }
        }
    }
    expire_keys(store).await?;
    let kept = retentions
        .iter()
        .chain([fallback])
        .map(|retention| retention.finished);
    forget(store, kept.max().unwrap_or_default()).await?;
    Ok(pruned)
}

async fn remove(store: &SqliteStore, expired: &Expired<'_>) -> sqlx::Result<u64> {
    let (mut tx, now) = store.write().await?;
    let removed = sqlx::query(
        "DELETE FROM job WHERE rowid IN (
             SELECT rowid FROM job
             WHERE finished_at IS NOT NULL AND finished_at <= ?1 AND (state = 5) = ?2
               AND iif(?3 IS NULL, queue NOT IN (SELECT value FROM json_each(?4)), queue = ?3)
             ORDER BY finished_at LIMIT ?5)",
    )
    .bind(clock::before(now, expired.kept))
    .bind(expired.dead)
    .bind(expired.queue)
    .bind(expired.named)
    .bind(i64::try_from(CHUNK).unwrap_or(i64::MAX))
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if removed > 0 {
        sqlx::query(
            "INSERT INTO tally (process, pruned) VALUES (0, ?1)
             ON CONFLICT (process) DO UPDATE SET pruned = pruned + excluded.pruned",
        )
        .bind(i64::try_from(removed).unwrap_or(i64::MAX))
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(removed)
}

/// A key lives a day or as long as its job, whichever is longer.
async fn expire_keys(store: &SqliteStore) -> sqlx::Result<()> {
    let (mut tx, now) = store.write().await?;
    sqlx::query(
        "DELETE FROM unique_key WHERE created_at <= ?1
           AND NOT EXISTS (SELECT 1 FROM job WHERE job.id = unique_key.job)",
    )
    .bind(clock::before(now, KEY_LIFE))
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// What outlived its use: the tombstones of jobs that are older than any message that would be
/// taken for a lost job's, and the record of what operators did.
async fn forget(store: &SqliteStore, longest: Duration) -> sqlx::Result<()> {
    let (mut tx, now) = store.write().await?;
    let adopted = clock::before(now, longest.saturating_add(TOMBSTONE_MARGIN));
    let millis = u128::try_from(adopted / 1000).unwrap_or_default();
    sqlx::query("DELETE FROM tombstone WHERE id < ?1")
        .bind(Uuid::from_u128(millis << 80))
        .execute(&mut *tx)
        .await?;
    audit::forget(&mut tx, now).await?;
    sqlx::query(
        "DELETE FROM progress WHERE NOT EXISTS (
             SELECT 1 FROM job
             WHERE job.id = progress.id AND job.epoch = progress.epoch AND job.state = 2)",
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM operation WHERE finished_at < ?1")
        .bind(clock::before(now, OPERATIONS_KEPT))
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}
