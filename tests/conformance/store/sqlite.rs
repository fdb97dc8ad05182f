use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use longshore::store::Store;
use longshore::store::sqlite::SqliteStore;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::backend::Backend;

/// A database file in a folder of its own.
pub(crate) struct SqliteFile {
    folder: PathBuf,
}

#[async_trait]
impl Backend for SqliteFile {
    async fn create() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("longshore-conformance-")
            .tempdir()
            .unwrap()
            .keep();
        Self { folder }
    }

    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(
            SqliteStore::open(&self.folder.join("jobs.db"))
                .await
                .unwrap(),
        )
    }

    async fn tamper(&self, _: &str, sqlite: &str) {
        let options = SqliteConnectOptions::new()
            .filename(self.folder.join("jobs.db"))
            .foreign_keys(false);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sqlite.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    async fn destroy(&self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}
