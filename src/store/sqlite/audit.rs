use async_trait::async_trait;
use serde_json::Value;
use sqlx::types::Uuid;
use sqlx::{QueryBuilder, SqliteConnection};

use super::error::classify;
use super::{SqliteStore, clock, rows};
use crate::store::audit::KEPT;
use crate::store::{Audit, AuditEntry, AuditFilter, Deed, StoreResult};

#[async_trait]
impl Audit for SqliteStore {
    async fn audit(
        &self,
        filter: &AuditFilter,
        limit: u32,
        before: Option<Uuid>,
    ) -> StoreResult<Vec<AuditEntry>> {
        read(self, filter, limit, before).await.map_err(classify)
    }
}

/// Puts a deed on record, in its own transaction.
pub(super) async fn note(
    db: &mut SqliteConnection,
    now: i64,
    by: &str,
    deed: Deed,
    target: &str,
    detail: &Value,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO audit (id, at, by, deed, target, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .bind(Uuid::now_v7())
    .bind(now)
    .bind(by)
    .bind(deed.as_str())
    .bind(target)
    .bind(detail.to_string())
    .execute(db)
    .await?;
    Ok(())
}

/// Removes what is older than it is kept.
pub(super) async fn forget(db: &mut SqliteConnection, now: i64) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM audit WHERE at < ?1")
        .bind(clock::before(now, KEPT))
        .execute(db)
        .await?;
    Ok(())
}

async fn read(
    store: &SqliteStore,
    filter: &AuditFilter,
    limit: u32,
    before: Option<Uuid>,
) -> sqlx::Result<Vec<AuditEntry>> {
    let mut query =
        QueryBuilder::new("SELECT id, at, by, deed, target, detail FROM audit WHERE true");
    if let Some(by) = &filter.by {
        query.push(" AND by = ").push_bind(by.clone());
    }
    if let Some(deed) = filter.deed {
        query.push(" AND deed = ").push_bind(deed.as_str());
    }
    if let Some(before) = before {
        query.push(" AND id < ").push_bind(before);
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    let found: Vec<(Uuid, i64, String, String, String, String)> =
        query.build_query_as().fetch_all(&store.readers).await?;
    let entry = |(id, at, by, deed, target, detail): (_, _, _, String, _, String)| {
        Ok(AuditEntry {
            id,
            at: clock::moment(at)?,
            by,
            deed: deed.parse().map_err(rows::corrupt)?,
            target,
            detail: serde_json::from_str(&detail).map_err(rows::corrupt)?,
        })
    };
    found.into_iter().map(entry).collect()
}
