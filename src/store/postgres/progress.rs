//! How far runs have come. A table of its own, so that a handler that tells of itself every
//! second never makes a version of a row of `live`: with an old snapshot open somewhere none of
//! those could be removed.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::PostgresStore;
use super::error::Fault;
use super::transaction::{HOT, transact};
use crate::job::{JobView, ProgressView, State};
use crate::store::{ProgressNote, ProgressNotes, StoreResult};

#[async_trait]
impl ProgressNotes for PostgresStore {
    async fn note_progress(&self, notes: &[ProgressNote]) -> StoreResult<()> {
        if notes.is_empty() {
            return Ok(());
        }
        transact!(self.pool, HOT, |tx| note(&mut tx, notes))
    }
}

/// The row of `live` is read and not locked: a note that is written just after its run has ended
/// belongs to no run that anybody sees, and a later run's note is not overwritten.
async fn note(tx: &mut PgConnection, notes: &[ProgressNote]) -> Result<(), Fault> {
    let ids: Vec<Uuid> = notes.iter().map(|note| note.fence.id.uuid()).collect();
    let owners: Vec<i64> = notes.iter().map(|note| note.fence.owner.0).collect();
    let epochs: Vec<i32> = notes.iter().map(|note| note.fence.epoch).collect();
    let fractions: Vec<f64> = notes.iter().map(|note| note.progress.fraction).collect();
    let messages: Vec<&str> = notes
        .iter()
        .map(|note| note.progress.message.as_str())
        .collect();
    sqlx::query(
        "INSERT INTO longshore.progress AS p (id, owner, epoch, fraction, message, at)
         SELECT g.id, g.owner, g.epoch, g.fraction, g.message, now()
         FROM unnest($1::uuid[], $2::bigint[], $3::integer[], $4::float8[], $5::text[])
             AS g (id, owner, epoch, fraction, message)
         CROSS JOIN LATERAL (
             SELECT FROM longshore.live
             WHERE id = g.id AND owner = g.owner AND epoch = g.epoch AND state = 2 OFFSET 0) l
         ORDER BY g.id
         ON CONFLICT (id) DO UPDATE
         SET owner = excluded.owner, epoch = excluded.epoch, fraction = excluded.fraction,
             message = excluded.message, at = excluded.at
         WHERE p.epoch <= excluded.epoch",
    )
    .bind(ids)
    .bind(owners)
    .bind(epochs)
    .bind(fractions)
    .bind(messages)
    .execute(tx)
    .await?;
    Ok(())
}

/// Adds to views of running jobs how far they have come.
pub(super) async fn add(tx: &mut PgConnection, views: &mut [JobView]) -> Result<(), Fault> {
    let running = views.iter().filter(|view| view.state == State::Running);
    let running: Vec<Uuid> = running.map(|view| view.id.uuid()).collect();
    if running.is_empty() {
        return Ok(());
    }
    let rows: Vec<(Uuid, f64, String, DateTime<Utc>)> = sqlx::query_as(
        "SELECT g.id, p.fraction, p.message, p.at FROM unnest($1::uuid[]) AS g (id)
         CROSS JOIN LATERAL (
             SELECT owner, epoch FROM longshore.live WHERE id = g.id AND state = 2 OFFSET 0) l
         CROSS JOIN LATERAL (
             SELECT fraction, message, at FROM longshore.progress
             WHERE id = g.id AND owner = l.owner AND epoch = l.epoch OFFSET 0) p",
    )
    .bind(running)
    .fetch_all(tx)
    .await?;
    let view = |(id, fraction, message, at)| {
        let progress = ProgressView {
            fraction,
            message,
            at,
        };
        (id, progress)
    };
    let mut progress: HashMap<Uuid, ProgressView> = rows.into_iter().map(view).collect();
    for view in views {
        view.progress = progress.remove(&view.id.uuid());
    }
    Ok(())
}

/// Removes what is known of runs that have ended.
pub(super) async fn forget(tx: &mut PgConnection) -> Result<(), Fault> {
    sqlx::query(
        "DELETE FROM longshore.progress WHERE id = ANY (ARRAY (
             SELECT p.id FROM longshore.progress p
             WHERE NOT EXISTS (SELECT FROM longshore.live l
                               WHERE l.id = p.id AND l.epoch = p.epoch AND l.state = 2)
             ORDER BY p.id LIMIT 100000 FOR UPDATE SKIP LOCKED))",
    )
    .execute(tx)
    .await?;
    Ok(())
}
