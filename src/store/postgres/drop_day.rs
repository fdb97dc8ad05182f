use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::day::{Day, TABLES};
use super::error::Fault;
use super::prune::{self, Keep};
use super::schema;
use super::transaction::micros;

/// How long after the end of its last row's retention a day is dropped: a job may end after
/// midnight.
const SLACK: Duration = Duration::from_secs(3600);
/// How many jobs that outlive their day are moved. A day with more is left to be pruned row by
/// row: moving them would keep everybody out for too long.
const MOVED_AT_MOST: usize = 200_000;

/// The days that are past every queue's retention of succeeded jobs, oldest first.
pub(super) async fn due(tx: &mut PgConnection, keep: &Keep<'_>) -> Result<Vec<Day>, Fault> {
    let now = schema::now(tx).await?;
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'longshore.job'::regclass",
    )
    .fetch_all(tx)
    .await?;
    let age = chrono::TimeDelta::from_std(keep.longest().saturating_add(SLACK));
    let Some(horizon) = age.ok().and_then(|age| now.checked_sub_signed(age)) else {
        return Ok(Vec::new());
    };
    let mut days: Vec<Day> = names
        .iter()
        .filter_map(|name| Day::of_partition(name))
        .filter(|day| day.next().start() <= horizon)
        .collect();
    days.sort_unstable();
    Ok(days)
}

/// Drops a day's partitions; what outlives it moves to the default partition first. Returns how
/// many jobs went.
///
/// The locks come in two steps. The first keeps writers off this old day, while its rows are
/// counted and its survivors found: nothing can move into or out of it from then on. The second
/// is exclusive on the whole tables, and is held only to detach, move and drop. Who waits for
/// the day while holding a table makes us wait in turn, and our `lock_timeout` ends that before
/// it counts as a deadlock.
pub(super) async fn drop_day(
    tx: &mut PgConnection,
    day: Day,
    keep: &Keep<'_>,
) -> Result<u64, Fault> {
    if !prune::try_lock(tx).await? || !whole(tx, day).await? {
        return Ok(0);
    }
    let partitions = TABLES.map(|table| day.partition(table));
    run(
        tx,
        format!(
            "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
            partitions.join(", ")
        ),
    )
    .await?;
    let survivors = survivors(tx, day, keep).await?;
    if survivors.len() > MOVED_AT_MOST {
        return Ok(0);
    }
    let finished = size(tx, &day.partition("done")).await?;
    release_keys(tx, day, &survivors).await?;
    let mut moved = 0;
    for table in TABLES {
        let partition = day.partition(table);
        run(
            tx,
            format!("ALTER TABLE longshore.{table} DETACH PARTITION {partition}"),
        )
        .await?;
        let rows = move_rows(tx, table, &partition, &survivors).await?;
        if table == "done" {
            moved = rows;
        }
    }
    run(tx, format!("DROP TABLE {}", partitions.join(", "))).await?;
    let gone = finished.saturating_sub(moved);
    prune::count(tx, gone).await?;
    Ok(gone)
}

/// False when another process has dropped it meanwhile.
async fn whole(tx: &mut PgConnection, day: Day) -> Result<bool, Fault> {
    let partitions = TABLES.map(|table| day.partition(table));
    Ok(
        sqlx::query_scalar("SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest($1) name")
            .bind(partitions.to_vec())
            .fetch_one(tx)
            .await?,
    )
}

/// The day's jobs that are not at the end of their retention: live, or dead and kept longer, or
/// ended late. At most one more than can be moved.
async fn survivors(tx: &mut PgConnection, day: Day, keep: &Keep<'_>) -> Result<Vec<Uuid>, Fault> {
    let done = day.partition("done");
    let queues: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT DISTINCT queue FROM {done}")))
            .fetch_all(&mut *tx)
            .await?;
    let finished: Vec<i64> = queues.iter().map(|q| micros(keep.of(q).finished)).collect();
    let dead: Vec<i64> = queues.iter().map(|q| micros(keep.of(q).dead)).collect();
    Ok(sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT d.id FROM {done} d
         JOIN unnest($1::text[], $2::bigint[], $3::bigint[]) AS kept (queue, finished, dead)
             ON kept.queue = d.queue
         WHERE d.finished_at > now() - interval '1 microsecond'
               * CASE WHEN d.state = 5 THEN kept.dead ELSE kept.finished END
         UNION ALL
         SELECT id FROM longshore.live WHERE id >= $4 AND id < $5
         LIMIT $6"
    )))
    .bind(queues)
    .bind(finished)
    .bind(dead)
    .bind(day.first_id())
    .bind(day.next().first_id())
    .bind(i64::try_from(MOVED_AT_MOST + 1).unwrap_or(i64::MAX))
    .fetch_all(tx)
    .await?)
}

async fn size(tx: &mut PgConnection, table: &str) -> Result<u64, Fault> {
    let rows: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
        .fetch_one(tx)
        .await?;
    Ok(rows.unsigned_abs())
}

/// The keys of the jobs that go, which a row-by-row pruning has not released already.
async fn release_keys(tx: &mut PgConnection, day: Day, survivors: &[Uuid]) -> Result<(), Fault> {
    sqlx::query(
        "UPDATE longshore.unique_key k SET expires_at = created_at + interval '24 hours'
         WHERE job >= $1 AND job < $2 AND expires_at IS NULL
           AND NOT EXISTS (SELECT FROM unnest($3::uuid[]) AS survivor (id) WHERE id = k.job)",
    )
    .bind(day.first_id())
    .bind(day.next().first_id())
    .bind(survivors)
    .execute(tx)
    .await?;
    Ok(())
}

async fn move_rows(
    tx: &mut PgConnection,
    table: &str,
    from: &str,
    survivors: &[Uuid],
) -> Result<u64, Fault> {
    let moved = sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO longshore.{table} SELECT * FROM {from} WHERE id = ANY ($1)"
    )))
    .bind(survivors)
    .execute(tx)
    .await?;
    Ok(moved.rows_affected())
}

async fn run(tx: &mut PgConnection, statement: String) -> Result<(), Fault> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(tx).await?;
    Ok(())
}
