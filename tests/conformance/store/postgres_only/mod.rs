//! What only the PostgreSQL store has: partitions, pools, and a server that may go away.

mod backlog;
mod connections;
mod door;
mod door_refusals;
mod ends;
mod operations;
mod partitions;
mod plans;
mod races;

use sqlx::{AssertSqlSafe, PgConnection};

use super::backend::Backend;
use super::postgres::PostgresDatabase;
use super::world::World;

async fn execute(connection: &mut PgConnection, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .unwrap();
}

/// Until some other session of this database waits for a lock.
async fn waits_for_a_lock(connection: &mut PgConnection) {
    let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                   WHERE NOT l.granted AND d.datname = current_database()";
    loop {
        let count: i64 = sqlx::query_scalar(waiting)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        if count > 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn world() -> (World, PgConnection) {
    let database = PostgresDatabase::create().await;
    let connection = database.connect().await;
    (World::on(database).await.migrate().await, connection)
}
