use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, QueryBuilder};
use uuid::Uuid;

use super::PostgresStore;
use super::error::Fault;
use super::transaction::{COLD, micros, transact};
use crate::store::audit::KEPT;
use crate::store::{Audit, AuditEntry, AuditFilter, Deed, StoreResult};

#[async_trait]
impl Audit for PostgresStore {
    async fn audit(
        &self,
        filter: &AuditFilter,
        limit: u32,
        before: Option<Uuid>,
    ) -> StoreResult<Vec<AuditEntry>> {
        transact!(self.reads, COLD, |tx| read(&mut tx, filter, limit, before))
    }
}

/// Puts a deed on record, in its own transaction.
pub(super) async fn note(
    tx: &mut PgConnection,
    by: &str,
    deed: Deed,
    target: &str,
    detail: &Value,
) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO longshore.audit (id, at, by, deed, target, detail)
         VALUES ($1, now(), $2, $3, $4, $5)",
    )
    .bind(Uuid::now_v7())
    .bind(by)
    .bind(deed.as_str())
    .bind(target)
    .bind(detail.to_string())
    .execute(tx)
    .await?;
    Ok(())
}

/// Removes what is older than it is kept.
pub(super) async fn forget(tx: &mut PgConnection) -> Result<(), Fault> {
    sqlx::query(
        "DELETE FROM longshore.audit WHERE id = ANY (ARRAY (
             SELECT id FROM longshore.audit WHERE at < now() - $1 * interval '1 microsecond'
             ORDER BY at LIMIT 100000 FOR UPDATE SKIP LOCKED))",
    )
    .bind(micros(KEPT))
    .execute(tx)
    .await?;
    Ok(())
}

async fn read(
    tx: &mut PgConnection,
    filter: &AuditFilter,
    limit: u32,
    before: Option<Uuid>,
) -> Result<Vec<AuditEntry>, Fault> {
    let mut query = QueryBuilder::new(
        "SELECT id, at, by, deed, target, detail FROM longshore.audit WHERE true",
    );
    if let Some(by) = &filter.by {
        query.push(" AND by = ").push_bind(by.clone());
    }
    if let Some(deed) = filter.deed {
        query.push(" AND deed = ").push_bind(deed.as_str());
    }
    if let Some(before) = before {
        query.push(" AND id < ").push_bind(before);
    }
    query
        .push(" ORDER BY id DESC LIMIT ")
        .push_bind(i64::from(limit));
    let rows: Vec<(Uuid, DateTime<Utc>, String, String, String, String)> =
        query.build_query_as().fetch_all(tx).await?;
    let entry = |(id, at, by, deed, target, detail): (_, _, _, String, _, String)| {
        Ok(AuditEntry {
            id,
            at,
            by,
            deed: deed.parse().map_err(Fault::corrupt)?,
            target,
            detail: serde_json::from_str(&detail).map_err(Fault::corrupt)?,
        })
    };
    rows.into_iter().map(entry).collect()
}
