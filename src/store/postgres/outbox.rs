use std::time::Duration;

use bytes::Bytes;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Fault;
use super::transaction::{micros, unsigned};
use crate::job::{JobId, Priority, Publication};
use crate::store::{OutboxEntry, OutboxId};

/// Payloads of one lease, in bytes, give or take an entry: all of it is in memory until the
/// broker has confirmed it.
const LEASE_BYTES: usize = 16 * 1024 * 1024;

/// Dispatches by entry, in the columns of the outbox.
struct Lease {
    id: i64,
    high: bool,
    jobs: Vec<Uuid>,
    dispatches: Vec<i32>,
}

pub(super) async fn lease(
    tx: &mut PgConnection,
    limit: u32,
    lease: Duration,
) -> Result<Vec<OutboxEntry>, Fault> {
    let mut leases: Vec<Lease> = sqlx::query_as(
        "UPDATE longshore.outbox
         SET available_at = now() + $2 * interval '1 microsecond'
         WHERE id = ANY (ARRAY (
             SELECT id FROM longshore.outbox WHERE available_at <= now()
             ORDER BY high DESC, id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED))
         RETURNING id, high, jobs, dispatches",
    )
    .bind(i64::from(limit))
    .bind(micros(lease))
    .fetch_all(&mut *tx)
    .await?
    .into_iter()
    .map(|(id, high, jobs, dispatches)| Lease {
        id,
        high,
        jobs,
        dispatches,
    })
    .collect();
    leases.sort_by_key(|lease| (!lease.high, lease.id));
    let (mut entries, mut empty) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for lease in leases {
        if bytes >= LEASE_BYTES {
            give_back(tx, lease.id).await?;
            continue;
        }
        let publications = publications(tx, &lease.jobs, &lease.dispatches, lease.high).await?;
        let id = OutboxId(lease.id);
        if publications.is_empty() {
            empty.push(id);
        } else {
            bytes += publications.iter().map(|p| p.payload.len()).sum::<usize>();
            dispatched_now(tx, &lease.jobs, &lease.dispatches).await?;
            entries.push(OutboxEntry { id, publications });
        }
    }
    settle(tx, &empty).await?;
    Ok(entries)
}

/// An entry that was leased but is too much to carry: another lease takes it at once.
async fn give_back(tx: &mut PgConnection, entry: i64) -> Result<(), Fault> {
    sqlx::query("UPDATE longshore.outbox SET available_at = now() WHERE id = $1")
        .bind(entry)
        .execute(tx)
        .await?;
    Ok(())
}

/// What is published now has been waiting for its worker from now on: a backlog that built up
/// while the broker was down must not look lost as soon as something newer is delivered.
async fn dispatched_now(
    tx: &mut PgConnection,
    jobs: &[Uuid],
    dispatches: &[i32],
) -> Result<(), Fault> {
    sqlx::query(
        "UPDATE longshore.live SET queued_at = now()
         WHERE id = ANY (ARRAY (
             SELECT l.id FROM unnest($1::uuid[], $2::integer[]) AS d (id, dispatch)
             CROSS JOIN LATERAL (
                 SELECT id FROM longshore.live
                 WHERE id = d.id AND dispatch = d.dispatch AND state = 1 OFFSET 0) l
             ORDER BY l.id)) AND state = 1",
    )
    .bind(jobs)
    .bind(dispatches)
    .execute(tx)
    .await?;
    Ok(())
}

/// Enters dispatches in the outbox, leased to the caller, and returns them as publications.
/// None of nothing. The rows have just been put to `queued` by this transaction.
pub(super) async fn enter(
    tx: &mut PgConnection,
    dispatches: Vec<(Uuid, i32)>,
    lease: Duration,
) -> Result<Option<OutboxEntry>, Fault> {
    if dispatches.is_empty() {
        return Ok(None);
    }
    let (id, jobs, dispatches) = insert(tx, dispatches, lease).await?;
    let publications = publications(tx, &jobs, &dispatches, false).await?;
    Ok(Some(OutboxEntry { id, publications }))
}

/// As [`enter`], without reading what the messages carry.
pub(super) async fn box_up(
    tx: &mut PgConnection,
    dispatches: Vec<(Uuid, i32)>,
    lease: Duration,
) -> Result<(), Fault> {
    if !dispatches.is_empty() {
        insert(tx, dispatches, lease).await?;
    }
    Ok(())
}

async fn insert(
    tx: &mut PgConnection,
    mut dispatches: Vec<(Uuid, i32)>,
    lease: Duration,
) -> Result<(OutboxId, Vec<Uuid>, Vec<i32>), Fault> {
    dispatches.sort_unstable();
    let (jobs, dispatches): (Vec<Uuid>, Vec<i32>) = dispatches.into_iter().unzip();
    let id = sqlx::query_scalar(
        "INSERT INTO longshore.outbox (available_at, created_at, high, jobs, dispatches)
         VALUES (now() + $1 * interval '1 microsecond', now(), false, $2, $3) RETURNING id",
    )
    .bind(micros(lease))
    .bind(&jobs)
    .bind(&dispatches)
    .fetch_one(tx)
    .await?;
    Ok((OutboxId(id), jobs, dispatches))
}

/// Leases an entry again, whoever has it; none if it was settled, or nothing in it waits.
pub(super) async fn lease_again(
    tx: &mut PgConnection,
    id: OutboxId,
    lease: Duration,
) -> Result<Option<OutboxEntry>, Fault> {
    let entry: Option<(Vec<Uuid>, Vec<i32>)> = sqlx::query_as(
        "UPDATE longshore.outbox SET available_at = now() + $2 * interval '1 microsecond'
         WHERE id = $1 RETURNING jobs, dispatches",
    )
    .bind(id.0)
    .bind(micros(lease))
    .fetch_optional(&mut *tx)
    .await?;
    let Some((jobs, dispatches)) = entry else {
        return Ok(None);
    };
    let publications = publications(tx, &jobs, &dispatches, false).await?;
    Ok(Some(OutboxEntry { id, publications }).filter(|entry| !entry.publications.is_empty()))
}

/// Enters dispatches in the outbox at high priority, due at once. None of nothing.
pub(super) async fn enter_high(
    tx: &mut PgConnection,
    mut dispatches: Vec<(Uuid, i32)>,
) -> Result<(), Fault> {
    if dispatches.is_empty() {
        return Ok(());
    }
    dispatches.sort_unstable();
    let (jobs, dispatches): (Vec<Uuid>, Vec<i32>) = dispatches.into_iter().unzip();
    sqlx::query(
        "INSERT INTO longshore.outbox (available_at, created_at, high, jobs, dispatches)
         VALUES (now(), now(), true, $1, $2)",
    )
    .bind(jobs)
    .bind(dispatches)
    .execute(tx)
    .await?;
    Ok(())
}

/// Those of the dispatches that are still `queued`, with what their messages carry.
async fn publications(
    tx: &mut PgConnection,
    jobs: &[Uuid],
    dispatches: &[i32],
    high: bool,
) -> Result<Vec<Publication>, Fault> {
    // `OFFSET 0` keeps each look-up a look-up, of a job in the one partition that its id names,
    // whatever the planner thinks of the sizes.
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT l.id, l.dispatch, j.kind, j.queue, j.high, j.traceparent, j.payload
         FROM unnest($1::uuid[], $2::integer[]) AS d (id, dispatch)
         CROSS JOIN LATERAL (
             SELECT id, dispatch FROM longshore.live
             WHERE id = d.id AND dispatch = d.dispatch AND state = 1 OFFSET 0) l
         CROSS JOIN LATERAL (SELECT * FROM longshore.job WHERE id = l.id OFFSET 0) j
         ORDER BY l.id",
    )
    .bind(jobs)
    .bind(dispatches)
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(|row| row.publication(high)).collect()
}

/// What a message carries.
#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    dispatch: i32,
    kind: String,
    queue: String,
    high: bool,
    traceparent: Option<String>,
    payload: Vec<u8>,
}

impl Row {
    fn publication(self, high: bool) -> Result<Publication, Fault> {
        Ok(Publication {
            id: JobId::from(self.id),
            kind: self.kind.parse().map_err(Fault::corrupt)?,
            queue: self.queue.parse().map_err(Fault::corrupt)?,
            priority: Priority::from_high(high || self.high),
            dispatch: self.dispatch,
            traceparent: self.traceparent,
            payload: Bytes::from(self.payload),
        })
    }
}

pub(super) async fn publication(
    tx: &mut PgConnection,
    id: JobId,
    dispatch: i32,
) -> Result<Option<Publication>, Fault> {
    Ok(publications(tx, &[id.uuid()], &[dispatch], false)
        .await?
        .pop())
}

pub(super) async fn settle(tx: &mut PgConnection, entries: &[OutboxId]) -> Result<(), Fault> {
    if entries.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = entries.iter().map(|entry| entry.0).collect();
    sqlx::query(
        "DELETE FROM longshore.outbox WHERE id = ANY (ARRAY (
             SELECT id FROM longshore.outbox WHERE id = ANY ($1) ORDER BY id FOR UPDATE))",
    )
    .bind(ids)
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn age(tx: &mut PgConnection) -> Result<Option<Duration>, Fault> {
    let micros: Option<i64> = sqlx::query_scalar(
        "SELECT (extract(epoch FROM now() - min(created_at)) * 1000000)::bigint
         FROM longshore.outbox WHERE available_at <= now()",
    )
    .fetch_one(tx)
    .await?;
    Ok(micros.map(|micros| Duration::from_micros(unsigned(micros))))
}
