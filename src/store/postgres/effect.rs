use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use sqlx::PgConnection;

use super::error::Fault;
use super::insert::{self, Ids};
use super::transaction::{EFFECT, Tx, within};
use super::{PostgresStore, record};
use crate::job::{NewJob, Transition};
use crate::store::{
    Connection, DatabaseError, Effect, Effects, Fence, Record, StoreError, StoreResult,
};

#[async_trait]
impl Effects for PostgresStore {
    async fn begin_effect(&self, fence: Fence) -> StoreResult<Option<Box<dyn Effect>>> {
        within(&EFFECT, async {
            let mut tx = Tx::begin(&self.effects, &EFFECT).await?;
            match holds(&mut tx, fence).await {
                Ok(true) => Ok(Some(
                    Box::new(PostgresEffect { tx, fence }) as Box<dyn Effect>
                )),
                Ok(false) => {
                    roll_back(tx).await;
                    Ok(None)
                }
                Err(fault) => tx.end(Err(fault)).await,
            }
        })
        .await
    }
}

async fn holds(tx: &mut PgConnection, fence: Fence) -> Result<bool, Fault> {
    let held = sqlx::query(
        "SELECT FROM longshore.live WHERE id = $1 AND owner = $2 AND epoch = $3 AND state = 2",
    )
    .bind(fence.id.uuid())
    .bind(fence.owner.0)
    .bind(fence.epoch)
    .fetch_optional(tx)
    .await?;
    Ok(held.is_some())
}

/// A handler's transaction. It goes back to its pool only when it was ended; dropped, it closes
/// its connection, because a statement may be outstanding on it.
struct PostgresEffect {
    tx: Tx,
    fence: Fence,
}

impl fmt::Debug for PostgresEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresEffect")
            .field("fence", &self.fence)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Effect for PostgresEffect {
    fn connection(&mut self) -> Connection<'_> {
        Connection::Postgres(&mut self.tx)
    }

    fn error(&self, error: DatabaseError) -> StoreError {
        Fault::Sql(error).into()
    }

    async fn succeed(&mut self, result: Option<&Value>, next: &[NewJob]) -> StoreResult<bool> {
        let (tx, fence) = (&mut self.tx, self.fence);
        within(&EFFECT, succeed(tx, fence, result, next)).await
    }

    async fn hold(&mut self) -> StoreResult<bool> {
        let (tx, fence) = (&mut self.tx, self.fence);
        within(&EFFECT, async {
            // Whoever would move the job waits; whoever only reads or locks it likewise does not.
            let held = sqlx::query(
                "SELECT FROM longshore.live
                 WHERE id = $1 AND owner = $2 AND epoch = $3 AND state = 2 FOR SHARE",
            )
            .bind(fence.id.uuid())
            .bind(fence.owner.0)
            .bind(fence.epoch)
            .fetch_optional(&mut **tx)
            .await?;
            Ok::<_, Fault>(held.is_some())
        })
        .await
    }

    async fn commit(self: Box<Self>) -> StoreResult<()> {
        within(&EFFECT, self.tx.end(Ok(()))).await
    }

    async fn roll_back(self: Box<Self>) {
        roll_back(self.tx).await;
    }
}

/// A failed roll-back only costs the connection, which rolls back as it closes.
async fn roll_back(tx: Tx) {
    let nothing: Result<(), Fault> = Err(StoreError::Stopping.into());
    // The answer is the fault that was given.
    let _ = within(&EFFECT, tx.end(nothing)).await;
}

/// The job's row before the next jobs: who loses the claim has inserted nothing, and who waits
/// for a key that is just being taken holds only a row that nobody else wants for long.
async fn succeed(
    tx: &mut PgConnection,
    fence: Fence,
    result: Option<&Value>,
    next: &[NewJob],
) -> Result<bool, Fault> {
    let end = Record {
        id: fence.id,
        owner: fence.owner,
        epoch: fence.epoch,
        transition: Transition::Succeed {
            result: result.cloned(),
        },
    };
    if record::record(tx, std::slice::from_ref(&end)).await? != [true] {
        return Ok(false);
    }
    if !next.is_empty() {
        // A unique violation would end the handler's transaction.
        let ids = Ids::PerhapsTaken;
        insert::insert(tx, fence.owner, next, Duration::ZERO, ids).await?;
    }
    Ok(true)
}
