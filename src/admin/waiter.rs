use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::job::JobId;
use crate::store::Store;

/// How often the store is asked while somebody waits: one question for all of them.
const EVERY: Duration = Duration::from_millis(50);

/// Lets any number of callers wait for the ends of jobs, at the price of one query per 50 ms.
#[derive(Debug, Clone)]
pub struct Waiter {
    /// A job's sender is dropped when the job has ended: its waiters see it closed.
    waiting: Arc<Mutex<HashMap<JobId, watch::Sender<()>>>>,
    somebody: Arc<Notify>,
}

impl Waiter {
    /// Starts the task that asks; it ends with the last clone.
    #[must_use]
    pub fn start(store: Arc<dyn Store>) -> Self {
        let waiter = Self {
            waiting: Arc::default(),
            somebody: Arc::default(),
        };
        let (waiting, somebody) = (Arc::downgrade(&waiter.waiting), waiter.somebody.clone());
        tokio::spawn(async move {
            while let Some(table) = waiting.upgrade() {
                let ids = awaited(&table);
                if ids.is_empty() {
                    drop(table);
                    let _ = tokio::time::timeout(Duration::from_secs(5), somebody.notified()).await;
                    continue;
                }
                match store.finished(&ids).await {
                    Ok(ended) => {
                        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
                        for id in ended {
                            table.remove(&id);
                        }
                    }
                    Err(error) => tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "could not ask for the ends of jobs"
                    ),
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        waiter
    }

    /// Waits for a job's end, at most `limit`; true if it has ended.
    pub async fn wait(&self, id: JobId, limit: Duration) -> bool {
        let mut end = {
            let mut table = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            table.entry(id).or_default().subscribe()
        };
        self.somebody.notify_one();
        let closed = async { while end.changed().await.is_ok() {} };
        tokio::time::timeout(limit, closed).await.is_ok()
    }
}

/// Ids that somebody still waits for; the others are forgotten.
fn awaited(table: &Mutex<HashMap<JobId, watch::Sender<()>>>) -> Vec<JobId> {
    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
    table.retain(|_, sender| sender.receiver_count() > 0);
    table.keys().copied().collect()
}
