use std::time::Duration;

use sqlx::{Sqlite, Transaction};

use super::rows::{PublicationRow, publication};
use super::{SqliteStore, clock, rows};
use crate::job::{JobId, Priority, Publication};
use crate::store::{OutboxEntry, OutboxId};

/// Enters dispatches, leased to the caller.
pub(super) async fn enter(
    tx: &mut Transaction<'static, Sqlite>,
    now: i64,
    lease: Duration,
    high: bool,
    dispatches: &[(JobId, i32)],
) -> sqlx::Result<OutboxId> {
    let jobs: Vec<(String, i32)> = dispatches
        .iter()
        .map(|(id, dispatch)| (rows::hex(*id), *dispatch))
        .collect();
    let entered = sqlx::query(
        "INSERT INTO outbox (created_at, leased_until, high, jobs) VALUES (?1, ?2, ?3, ?4)",
    )
    .bind(now)
    .bind(clock::after(now, lease))
    .bind(high)
    .bind(rows::batch(&jobs)?)
    .execute(&mut **tx)
    .await?;
    Ok(OutboxId(entered.last_insert_rowid()))
}

/// Enters publications as one leased entry; none if there are none.
pub(super) async fn enter_leased(
    tx: &mut Transaction<'static, Sqlite>,
    now: i64,
    lease: Duration,
    publications: Vec<Publication>,
) -> sqlx::Result<Option<OutboxEntry>> {
    if publications.is_empty() {
        return Ok(None);
    }
    let dispatches: Vec<(JobId, i32)> = publications.iter().map(|p| (p.id, p.dispatch)).collect();
    let id = enter(tx, now, lease, false, &dispatches).await?;
    Ok(Some(OutboxEntry { id, publications }))
}

/// Leases an entry again, whoever has it; none if it was settled, or nothing in it waits.
pub(super) async fn lease_again(
    tx: &mut Transaction<'static, Sqlite>,
    id: OutboxId,
    until: i64,
) -> sqlx::Result<Option<OutboxEntry>> {
    sqlx::query("UPDATE outbox SET leased_until = ?2 WHERE id = ?1")
        .bind(id.0)
        .bind(until)
        .execute(&mut **tx)
        .await?;
    let publications = still_queued(tx, id.0, false).await?;
    Ok(Some(OutboxEntry { id, publications }).filter(|entry| !entry.publications.is_empty()))
}

/// Payloads of one lease, in bytes, give or take an entry: all of it is in memory until the
/// broker has confirmed it.
const LEASE_BYTES: usize = 16 * 1024 * 1024;

pub(super) async fn lease(
    store: &SqliteStore,
    limit: u32,
    lease: Duration,
) -> sqlx::Result<Vec<OutboxEntry>> {
    let (mut tx, now) = store.write().await?;
    let mut leased = Vec::new();
    let mut last = 0;
    let mut bytes = 0;
    // Empty entries do not use up the limit: behind an outage there may be thousands of them.
    while leased.len() < limit as usize && bytes < LEASE_BYTES {
        let next: Option<(i64, bool)> = sqlx::query_as(
            "SELECT id, high FROM outbox WHERE leased_until <= ?1 AND id > ?2 ORDER BY id LIMIT 1",
        )
        .bind(now)
        .bind(last)
        .fetch_optional(&mut *tx)
        .await?;
        let Some((id, high)) = next else { break };
        last = id;
        let publications = still_queued(&mut tx, id, high).await?;
        if publications.is_empty() {
            delete(&mut tx, &[id]).await?;
        } else {
            sqlx::query("UPDATE outbox SET leased_until = ?2 WHERE id = ?1")
                .bind(id)
                .bind(clock::after(now, lease))
                .execute(&mut *tx)
                .await?;
            bytes += publications.iter().map(|p| p.payload.len()).sum::<usize>();
            dispatched_now(&mut tx, id, now).await?;
            let id = OutboxId(id);
            leased.push(OutboxEntry { id, publications });
        }
    }
    tx.commit().await?;
    Ok(leased)
}

/// What is published now has been waiting for its worker from now on: a backlog that built up
/// while the broker was down must not look lost as soon as something newer is delivered.
async fn dispatched_now(
    tx: &mut Transaction<'static, Sqlite>,
    entry: i64,
    now: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE job SET queued_at = ?2 WHERE id IN (
             SELECT unhex(r.value ->> 0) FROM outbox CROSS JOIN json_each(outbox.jobs) AS r
             WHERE outbox.id = ?1) AND +state = 1
           AND +dispatch = (
             SELECT r.value ->> 1 FROM outbox CROSS JOIN json_each(outbox.jobs) AS r
             WHERE outbox.id = ?1 AND unhex(r.value ->> 0) = job.id)",
    )
    .bind(entry)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// `?1` the entry.
pub(super) const STILL_QUEUED: &str = concat!(
    "SELECT ",
    publication!(),
    " FROM outbox CROSS JOIN json_each(outbox.jobs) AS r CROSS JOIN job
     WHERE outbox.id = ?1 AND job.id = unhex(r.value ->> 0)
       AND +job.dispatch = r.value ->> 1 AND +job.state = 1
     ORDER BY r.key"
);

/// An entry's publications, but for those that were claimed, ended or dispatched anew since.
async fn still_queued(
    tx: &mut Transaction<'static, Sqlite>,
    entry: i64,
    high: bool,
) -> sqlx::Result<Vec<Publication>> {
    let rows: Vec<PublicationRow> = sqlx::query_as(STILL_QUEUED)
        .bind(entry)
        .fetch_all(&mut **tx)
        .await?;
    let read = |row: PublicationRow| {
        let publication = Publication::try_from(row)?;
        Ok(if high {
            Publication {
                priority: Priority::High,
                ..publication
            }
        } else {
            publication
        })
    };
    rows.into_iter().map(read).collect()
}

pub(super) async fn settle(store: &SqliteStore, entries: &[OutboxId]) -> sqlx::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = entries.iter().map(|id| id.0).collect();
    let (mut tx, _) = store.write().await?;
    delete(&mut tx, &ids).await?;
    tx.commit().await
}

async fn delete(tx: &mut Transaction<'static, Sqlite>, entries: &[i64]) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM outbox WHERE id IN (SELECT value FROM json_each(?1))")
        .bind(rows::batch(entries)?)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn age(store: &SqliteStore) -> sqlx::Result<Option<Duration>> {
    let now = store.clock.micros();
    let oldest: Option<i64> =
        sqlx::query_scalar("SELECT min(created_at) FROM outbox WHERE leased_until <= ?1")
            .bind(now)
            .fetch_one(&store.readers)
            .await?;
    Ok(oldest.map(|oldest| clock::elapsed(oldest, now)))
}

pub(super) async fn publication(
    store: &SqliteStore,
    id: JobId,
    dispatch: i32,
) -> sqlx::Result<Option<Publication>> {
    let row: Option<PublicationRow> = sqlx::query_as(concat!(
        "SELECT ",
        publication!(),
        " FROM job WHERE id = ?1 AND dispatch = ?2 AND state = 1"
    ))
    .bind(id.uuid())
    .bind(dispatch)
    .fetch_optional(&store.readers)
    .await?;
    row.map(Publication::try_from).transpose()
}
