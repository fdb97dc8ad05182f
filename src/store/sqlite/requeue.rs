//! The ways to `queued` that need nobody: what has come due, and what was lost on the broker.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{QueryBuilder, Sqlite, Transaction};

use super::rows::{PublicationRow, publication};
use super::{SqliteStore, clock, outbox, rows};
use crate::job::{Publication, QueueName};
use crate::store::OutboxEntry;

pub(super) async fn promote_due(
    store: &SqliteStore,
    limit: u32,
    lease: Duration,
) -> sqlx::Result<Option<OutboxEntry>> {
    let (mut tx, now) = store.write().await?;
    let mut due = select();
    due.push(" WHERE due IS NOT NULL AND due <= ")
        .push_bind(now)
        .push(" ORDER BY due, id LIMIT ")
        .push_bind(limit);
    let promoted = fetch(&mut tx, due).await?;
    sqlx::query(
        "UPDATE job SET state = 1, dispatch = dispatch + 1, queued_at = ?2, due = NULL
         WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
    )
    .bind(rows::id_batch(promoted.iter().map(|p| p.id))?)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    let entry = outbox::enter_leased(&mut tx, now, lease, anew(promoted)).await?;
    tx.commit().await?;
    Ok(entry)
}

pub(super) async fn republish(
    store: &SqliteStore,
    queue: &QueueName,
    older_than: Duration,
    before: Option<DateTime<Utc>>,
    limit: u32,
    lease: Duration,
) -> sqlx::Result<Option<OutboxEntry>> {
    let (mut tx, now) = store.write().await?;
    let horizon = clock::before(now, older_than);
    let horizon = before.map_or(horizon, |before| horizon.min(before.timestamp_micros()));
    let mut waiting = select();
    waiting
        .push(" WHERE state = 1 AND queue = ")
        .push_bind(queue.as_str())
        .push(" AND queued_at < ")
        .push_bind(horizon)
        .push(" ORDER BY queued_at, id LIMIT ")
        .push_bind(limit);
    let waiting = fetch(&mut tx, waiting).await?;
    sqlx::query(
        "UPDATE job SET queued_at = ?2 WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
    )
    .bind(rows::id_batch(waiting.iter().map(|p| p.id))?)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    let entry = outbox::enter_leased(&mut tx, now, lease, waiting).await?;
    tx.commit().await?;
    Ok(entry)
}

fn select() -> QueryBuilder<Sqlite> {
    QueryBuilder::new(concat!("SELECT ", publication!(), " FROM job"))
}

async fn fetch(
    tx: &mut Transaction<'static, Sqlite>,
    mut query: QueryBuilder<Sqlite>,
) -> sqlx::Result<Vec<Publication>> {
    let rows: Vec<PublicationRow> = query.build_query_as().fetch_all(&mut **tx).await?;
    rows.into_iter().map(Publication::try_from).collect()
}

/// The same jobs under the dispatch that follows.
fn anew(mut publications: Vec<Publication>) -> Vec<Publication> {
    for publication in &mut publications {
        publication.dispatch += 1;
    }
    publications
}
