use std::sync::Arc;

use async_trait::async_trait;
use longshore::store::Store;

/// A database server, or whatever makes databases, as the suite needs it.
#[async_trait]
pub(crate) trait Backend: Send + Sync + 'static {
    /// A new, empty database that nobody else uses, not migrated.
    async fn create() -> Self
    where
        Self: Sized;

    /// Another store on it, with connections of its own, as another process would have.
    async fn open(&self) -> Arc<dyn Store>;

    /// Runs statements behind the store's back, in the words of whichever database it is.
    async fn tamper(&self, postgres: &str, sqlite: &str);

    /// Removes the database. Every store on it is closed by now. Not called for a case that
    /// failed.
    async fn destroy(&self);
}
