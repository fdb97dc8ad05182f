use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::error::Fault;
use super::transaction::{HOT, transact};
use super::{PostgresStore, audit};
use crate::store::{ApiKey, Deed, KeyId, Keyring, NewKey, StoreResult};

/// On the connections of acceptance: what is revoked must be noticed within seconds, however many
/// slow questions are asked meanwhile.
#[async_trait]
impl Keyring for PostgresStore {
    async fn create_key(&self, key: &NewKey, by: &str) -> StoreResult<Option<ApiKey>> {
        transact!(self.pool, HOT, |tx| create(&mut tx, key, by))
    }

    async fn keys(&self) -> StoreResult<Vec<ApiKey>> {
        transact!(self.pool, HOT, |tx| all(&mut tx))
    }

    async fn revoke_key(&self, key: KeyId, by: &str) -> StoreResult<bool> {
        transact!(self.pool, HOT, |tx| revoke(&mut tx, key, by))
    }

    async fn touch_keys(&self, keys: &[KeyId]) -> StoreResult<()> {
        if keys.is_empty() {
            return Ok(());
        }
        transact!(self.pool, HOT, |tx| touch(&mut tx, keys))
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    name: String,
    prefix: String,
    digest: Vec<u8>,
    scopes: String,
    rate: Option<i32>,
    created_at: DateTime<Utc>,
    last_used_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl Row {
    fn into_key(self) -> Result<ApiKey, Fault> {
        let corrupt = |what: &str| Fault::corrupt(format!("{what} of API key {}", self.id));
        let rate = self.rate.and_then(|rate| u32::try_from(rate).ok());
        Ok(ApiKey {
            id: KeyId(self.id),
            name: self.name,
            prefix: self.prefix,
            digest: self.digest.try_into().map_err(|_| corrupt("digest"))?,
            scopes: self.scopes.parse().map_err(|_| corrupt("scopes"))?,
            rate: rate.and_then(std::num::NonZeroU32::new),
            created_at: self.created_at,
            last_used_at: self.last_used_at,
            revoked_at: self.revoked_at,
        })
    }
}

async fn create(tx: &mut PgConnection, key: &NewKey, by: &str) -> Result<Option<ApiKey>, Fault> {
    let row: Option<Row> = sqlx::query_as(
        "INSERT INTO longshore.api_key (name, prefix, digest, scopes, rate, created_at)
         VALUES ($1, $2, $3, $4, $5, now())
         ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
         RETURNING id, name, prefix, digest, scopes, rate, created_at, last_used_at, revoked_at",
    )
    .bind(&key.name)
    .bind(&key.prefix)
    .bind(&key.digest[..])
    .bind(key.scopes.to_string())
    .bind(
        key.rate
            .map(|rate| i32::try_from(rate.get()).unwrap_or(i32::MAX)),
    )
    .fetch_optional(&mut *tx)
    .await?;
    if row.is_some() {
        audit::note(tx, by, Deed::CreateKey, &key.name, &key.detail()).await?;
    }
    row.map(Row::into_key).transpose()
}

async fn all(tx: &mut PgConnection) -> Result<Vec<ApiKey>, Fault> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, name, prefix, digest, scopes, rate, created_at, last_used_at, revoked_at
         FROM longshore.api_key ORDER BY id",
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(Row::into_key).collect()
}

async fn revoke(tx: &mut PgConnection, key: KeyId, by: &str) -> Result<bool, Fault> {
    let revoked: Option<String> = sqlx::query_scalar(
        "UPDATE longshore.api_key SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL
         RETURNING name",
    )
    .bind(key.0)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(name) = &revoked {
        audit::note(tx, by, Deed::RevokeKey, name, &json!({"id": key.0})).await?;
    }
    Ok(revoked.is_some())
}

/// `SKIP LOCKED`: whoever is writing the same row says the same.
async fn touch(tx: &mut PgConnection, keys: &[KeyId]) -> Result<(), Fault> {
    let ids: Vec<i64> = keys.iter().map(|key| key.0).collect();
    sqlx::query(
        "UPDATE longshore.api_key SET last_used_at = now()
         WHERE id = ANY (ARRAY (
             SELECT id FROM longshore.api_key
             WHERE id = ANY ($1)
               AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
             ORDER BY id FOR NO KEY UPDATE SKIP LOCKED))",
    )
    .bind(ids)
    .execute(tx)
    .await?;
    Ok(())
}
