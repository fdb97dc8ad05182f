use std::sync::Arc;

use async_trait::async_trait;
use longshore::store::Store;
use longshore::store::postgres::PostgresStore;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use url::Url;

use super::backend::Backend;

/// Names a server on which databases may be created.
const SERVER: &str = "TEST_DATABASE_URL";

/// A database of its own on a server.
pub(crate) struct PostgresDatabase {
    server: Url,
    name: String,
}

impl PostgresDatabase {
    /// Where the database is.
    pub(crate) fn url(&self) -> String {
        let mut url = self.server.clone();
        url.set_path(&self.name);
        url.into()
    }

    /// A connection of the test's own, to look behind the store.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    async fn administer(server: &Url, statement: String) {
        let mut connection = PgConnection::connect(server.as_str()).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }
}

#[async_trait]
impl Backend for PostgresDatabase {
    async fn create() -> Self {
        let server = std::env::var(SERVER).unwrap_or_else(|_| {
            panic!("{SERVER} must name a PostgreSQL server on which databases may be created")
        });
        let server = Url::parse(&server).unwrap();
        let name = format!("longshore_test_{}", uuid::Uuid::now_v7().simple());
        Self::administer(&server, format!("CREATE DATABASE {name}")).await;
        Self { server, name }
    }

    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(PostgresStore::connect(&self.url()).await.unwrap())
    }

    async fn tamper(&self, postgres: &str, _: &str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(postgres.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    async fn destroy(&self) {
        let name = &self.name;
        Self::administer(&self.server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }
}
