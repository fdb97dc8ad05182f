//! What only the PostgreSQL store has: partitions, pools, and a server that may go away.

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

async fn world() -> (World, PgConnection) {
    let database = PostgresDatabase::create().await;
    let connection = database.connect().await;
    (World::on(database).await.migrate().await, connection)
}
