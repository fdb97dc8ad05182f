use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use longshore::store::Store;
use longshore::store::sqlite::SqliteStore;

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

    async fn destroy(&self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}
