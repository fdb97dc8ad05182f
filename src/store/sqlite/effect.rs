//! SQLite has one writer, and a handler's transaction takes it: a handler that dawdles in one
//! stops every beat, claim and outcome of the process meanwhile. It is the same fair queue that
//! everything else waits in; a second writing connection would poll for SQLite's lock, and lose
//! to the busy first one.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::error::classify;
use super::{Clock, SqliteStore, insert, record};
use crate::job::{NewJob, Transition};
use crate::store::{
    Connection, DatabaseError, Effect, Effects, Fence, Record, StoreError, StoreResult,
};

#[async_trait]
impl Effects for SqliteStore {
    async fn begin_effect(&self, fence: Fence) -> StoreResult<Option<Box<dyn Effect>>> {
        begin(self, fence).await.map_err(classify)
    }
}

async fn begin(store: &SqliteStore, fence: Fence) -> sqlx::Result<Option<Box<dyn Effect>>> {
    let (mut tx, _) = store.write().await?;
    Ok(match holds(&mut tx, fence).await? {
        true => Some(Box::new(SqliteEffect {
            tx,
            fence,
            clock: store.clock.clone(),
        })),
        false => None,
    })
}

async fn holds(tx: &mut SqliteConnection, fence: Fence) -> sqlx::Result<bool> {
    let held: Option<i64> = sqlx::query_scalar(
        "SELECT 1 FROM job WHERE id = ?1 AND owner = ?2 AND epoch = ?3 AND state = 2",
    )
    .bind(fence.id.uuid())
    .bind(fence.owner.0)
    .bind(fence.epoch)
    .fetch_optional(tx)
    .await?;
    Ok(held.is_some())
}

#[derive(Debug)]
struct SqliteEffect {
    tx: Transaction<'static, Sqlite>,
    fence: Fence,
    clock: Clock,
}

#[async_trait]
impl Effect for SqliteEffect {
    fn connection(&mut self) -> Connection<'_> {
        Connection::Sqlite(&mut self.tx)
    }

    fn error(&self, error: DatabaseError) -> StoreError {
        classify(error)
    }

    async fn succeed(&mut self, result: Option<&Value>, next: &[NewJob]) -> StoreResult<bool> {
        self.end(result, next).await.map_err(classify)
    }

    async fn hold(&mut self) -> StoreResult<bool> {
        // The only writer holds everything already.
        holds(&mut self.tx, self.fence).await.map_err(classify)
    }

    async fn commit(self: Box<Self>) -> StoreResult<()> {
        self.tx.commit().await.map_err(classify)
    }

    async fn roll_back(self: Box<Self>) {
        // A failed one closes the connection, which rolls back too.
        let _ = self.tx.rollback().await;
    }
}

impl SqliteEffect {
    async fn end(&mut self, result: Option<&Value>, next: &[NewJob]) -> sqlx::Result<bool> {
        let now = self.clock.micros();
        let end = Record {
            id: self.fence.id,
            owner: self.fence.owner,
            epoch: self.fence.epoch,
            transition: Transition::Succeed {
                result: result.cloned(),
            },
        };
        if record::write(&mut self.tx, now, &[end]).await? != [true] {
            return Ok(false);
        }
        if !next.is_empty() {
            insert::write(&mut self.tx, now, self.fence.owner, next, Duration::ZERO).await?;
        }
        Ok(true)
    }
}
