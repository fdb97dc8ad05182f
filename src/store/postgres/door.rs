use async_trait::async_trait;
use sqlx::PgConnection;

use super::PostgresStore;
use super::error::Fault;
use super::transaction::{HOT, transact};
use crate::job::{Kind, QueueName};
use crate::store::{Door, StoreResult};

#[async_trait]
impl Door for PostgresStore {
    async fn announce_kinds(&self, kinds: &[(Kind, QueueName)]) -> StoreResult<()> {
        transact!(self.pool, HOT, |tx| announce(&mut tx, kinds))
    }

    async fn announced_queue(&self, kind: &Kind) -> StoreResult<Option<QueueName>> {
        transact!(self.pool, HOT, |tx| queue(&mut tx, kind))
    }
}

/// In order, so that processes that start at once do not deadlock; rows that say so already are
/// left alone.
async fn announce(tx: &mut PgConnection, kinds: &[(Kind, QueueName)]) -> Result<(), Fault> {
    let mut sorted: Vec<_> = kinds.iter().collect();
    sorted.sort_unstable();
    sorted.dedup_by(|a, b| a.0 == b.0);
    let each = || sorted.iter();
    sqlx::query(
        "INSERT INTO longshore.kind AS k (name, queue, announced_at)
         SELECT name, queue, now() FROM unnest($1::text[], $2::text[])
              WITH ORDINALITY AS given (name, queue, n)
         ORDER BY n
         ON CONFLICT (name) DO UPDATE
         SET queue = excluded.queue, announced_at = excluded.announced_at
         WHERE k.queue <> excluded.queue",
    )
    .bind(each().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>())
    .bind(each().map(|(_, queue)| queue.as_str()).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

async fn queue(tx: &mut PgConnection, kind: &Kind) -> Result<Option<QueueName>, Fault> {
    let queue: Option<String> =
        sqlx::query_scalar("SELECT queue FROM longshore.kind WHERE name = $1")
            .bind(kind.as_str())
            .fetch_optional(tx)
            .await?;
    queue
        .map(|queue| queue.parse().map_err(Fault::corrupt))
        .transpose()
}

/// Adds what apps have submitted to the tally of process 0, for it is nobody's in particular.
pub(super) async fn fold(tx: &mut PgConnection) -> Result<(), Fault> {
    sqlx::query(
        "WITH folded AS (
             DELETE FROM longshore.submitted WHERE id = ANY (ARRAY (
                 SELECT id FROM longshore.submitted ORDER BY id LIMIT 100000
                 FOR UPDATE SKIP LOCKED))
             RETURNING accepted)
         INSERT INTO longshore.tally AS t (process, slot, accepted)
         SELECT 0, pg_backend_pid() % 16, sum(accepted) FROM folded HAVING count(*) > 0
         ON CONFLICT (process, slot) DO UPDATE SET accepted = t.accepted + excluded.accepted",
    )
    .execute(tx)
    .await?;
    Ok(())
}
