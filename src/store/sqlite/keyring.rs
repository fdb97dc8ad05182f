use async_trait::async_trait;

use super::error::classify;
use super::{SqliteStore, audit, clock, rows};
use crate::store::{ApiKey, Deed, KeyId, Keyring, NewKey, StoreResult};

/// A key's use is written at most once in this many microseconds.
const TOUCH: i64 = 60_000_000;

#[async_trait]
impl Keyring for SqliteStore {
    async fn create_key(&self, key: &NewKey, by: &str) -> StoreResult<Option<ApiKey>> {
        create(self, key, by).await.map_err(classify)
    }

    async fn keys(&self) -> StoreResult<Vec<ApiKey>> {
        all(self).await.map_err(classify)
    }

    async fn revoke_key(&self, key: KeyId, by: &str) -> StoreResult<bool> {
        revoke(self, key, by).await.map_err(classify)
    }

    async fn touch_keys(&self, keys: &[KeyId]) -> StoreResult<()> {
        if keys.is_empty() {
            return Ok(());
        }
        touch(self, keys).await.map_err(classify)
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    name: String,
    prefix: String,
    digest: Vec<u8>,
    scopes: String,
    rate: Option<u32>,
    created_at: i64,
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl TryFrom<Row> for ApiKey {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let digest = row.digest.try_into();
        Ok(Self {
            id: KeyId(row.id),
            name: row.name,
            prefix: row.prefix,
            digest: digest.map_err(|_| rows::corrupt("the digest of an API key"))?,
            scopes: row.scopes.parse().map_err(rows::corrupt)?,
            rate: row.rate.and_then(std::num::NonZeroU32::new),
            created_at: clock::moment(row.created_at)?,
            last_used_at: row.last_used_at.map(clock::moment).transpose()?,
            revoked_at: row.revoked_at.map(clock::moment).transpose()?,
        })
    }
}

async fn create(store: &SqliteStore, key: &NewKey, by: &str) -> sqlx::Result<Option<ApiKey>> {
    let (mut tx, now) = store.write().await?;
    let row: Option<Row> = sqlx::query_as(
        "INSERT INTO api_key (name, prefix, digest, scopes, rate, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING RETURNING *",
    )
    .bind(&key.name)
    .bind(&key.prefix)
    .bind(&key.digest[..])
    .bind(key.scopes.to_string())
    .bind(key.rate.map(std::num::NonZeroU32::get))
    .bind(now)
    .fetch_optional(&mut *tx)
    .await?;
    if row.is_some() {
        let detail = key.detail();
        audit::note(&mut tx, now, by, Deed::CreateKey, &key.name, &detail).await?;
    }
    tx.commit().await?;
    row.map(ApiKey::try_from).transpose()
}

async fn all(store: &SqliteStore) -> sqlx::Result<Vec<ApiKey>> {
    let rows: Vec<Row> = sqlx::query_as("SELECT * FROM api_key ORDER BY id")
        .fetch_all(&store.readers)
        .await?;
    rows.into_iter().map(ApiKey::try_from).collect()
}

async fn revoke(store: &SqliteStore, key: KeyId, by: &str) -> sqlx::Result<bool> {
    let (mut tx, now) = store.write().await?;
    let revoked: Option<String> = sqlx::query_scalar(
        "UPDATE api_key SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL RETURNING name",
    )
    .bind(key.0)
    .bind(now)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(name) = &revoked {
        let detail = serde_json::json!({"id": key.0});
        audit::note(&mut tx, now, by, Deed::RevokeKey, name, &detail).await?;
    }
    tx.commit().await?;
    Ok(revoked.is_some())
}

async fn touch(store: &SqliteStore, keys: &[KeyId]) -> sqlx::Result<()> {
    let ids: Vec<i64> = keys.iter().map(|key| key.0).collect();
    let (mut tx, now) = store.write().await?;
    sqlx::query(
        "UPDATE api_key SET last_used_at = ?2
         WHERE id IN (SELECT value FROM json_each(?1))
           AND (last_used_at IS NULL OR last_used_at < ?2 - ?3)",
    )
    .bind(rows::batch(&ids)?)
    .bind(now)
    .bind(TOUCH)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
