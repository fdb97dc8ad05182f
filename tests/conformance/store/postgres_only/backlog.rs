//! What is queued already makes acceptance no dearer, counted in blocks and rows.

use sqlx::PgConnection;

use super::super::world::{World, new_jobs};
use super::plans::{rows_read, rows_read_since};
use super::{execute, world};

/// Jobs of one insert, and inserts that are counted.
const BATCH: usize = 100;
const INSERTS: usize = 10;

/// Blocks of tables and indexes that were touched.
async fn blocks(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT COALESCE(sum(heap_blks_hit + heap_blks_read + COALESCE(idx_blks_hit, 0)
                             + COALESCE(idx_blks_read, 0)), 0)::bigint
         FROM pg_statio_user_tables WHERE schemaname = 'longshore'",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

/// Blocks touched, and rows read, by inserts on connections of their own, which report when they
/// end.
async fn cost(world: &World, connection: &mut PgConnection) -> (i64, i64) {
    let (touched, read) = (blocks(connection).await, rows_read(connection).await);
    let store = world.elsewhere().await;
    for _ in 0..INSERTS {
        let lease = std::time::Duration::from_secs(5);
        let jobs = new_jobs(BATCH);
        store.insert(world.process, &jobs, lease).await.unwrap();
    }
    store.close().await;
    let read = rows_read_since(connection, read).await;
    (blocks(connection).await - touched, read)
}

/// Puts jobs into a queue as they are once the broker has them.
async fn queue_up(connection: &mut PgConnection, jobs: u64) {
    let statement = format!(
        "CREATE TEMPORARY TABLE made AS
         SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - {jobs} + n), 12, '0')
                 || '70008000' || lpad(to_hex(n), 12, '0'))::uuid AS id
         FROM generate_series(1, {jobs}) n;
         INSERT INTO longshore.job (id, kind, queue, payload, high, tags, created_at)
         SELECT id, 'email.send', 'email', '{{}}', false, '{{}}', now() FROM made;
         INSERT INTO longshore.live (id, kind, queue, state, dispatch, queued_at, created_at)
         SELECT id, 'email.send', 'email', 1, 1, now(), now() FROM made;
         INSERT INTO longshore.tally (process, slot, accepted) VALUES (0, 99, {jobs});
         ANALYZE longshore.live"
    );
    execute(connection, statement).await;
}

#[tokio::test]
async fn a_backlog_does_not_make_an_insert_dearer() {
    const BACKLOG: u64 = 200_000;
    let (world, mut connection) = world().await;
    // A few, so that every index has its first levels.
    world.accept(&new_jobs(1_000)).await;
    let (few, rows) = cost(&world, &mut connection).await;
    queue_up(&mut connection, BACKLOG).await;
    let (many, rows_behind) = cost(&world, &mut connection).await;
    let jobs = (BATCH * INSERTS) as i64;
    assert!(many <= few * 2, "{few} blocks, behind a backlog {many}");
    assert!(
        rows_behind <= rows + jobs,
        "{rows} rows, behind a backlog {rows_behind}"
    );
    world.close().await;
}
