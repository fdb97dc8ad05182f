use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::store::{Depth, Store, StoreResult};

/// For how long a count stands.
const STANDS: Duration = Duration::from_secs(1);

/// What queues hold, as it was counted a moment ago: counting reads every row that waits, so
/// however many ask, one counts at a time, and not more often than once a second.
#[derive(Debug, Default)]
pub struct Depths(Mutex<Option<(Instant, Vec<Depth>)>>);

impl Depths {
    /// The count, or a new one if it is older than a second.
    ///
    /// # Errors
    /// The store's.
    pub async fn read(&self, store: &dyn Store) -> StoreResult<Vec<Depth>> {
        let mut counted = self.0.lock().await;
        if let Some((at, depths)) = &*counted
            && at.elapsed() < STANDS
        {
            return Ok(depths.clone());
        }
        let began = Instant::now();
        let depths = store.depths().await?;
        *counted = Some((began, depths.clone()));
        Ok(depths)
    }
}
