use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::store::StoreError;

/// Whether the store is known not to answer.
///
/// An outage fails every loop of a process at every turn. The heartbeat tells of its beginning
/// and its end; what else fails meanwhile for the same reason is told at debug level only.
#[derive(Debug, Default)]
pub(super) struct Outage {
    since: Mutex<Option<Instant>>,
}

impl Outage {
    /// A beat was not taken.
    pub(super) fn begin(&self, error: &StoreError) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_none() {
            *since = Some(Instant::now());
            let error: &dyn std::error::Error = error;
            tracing::warn!(error, "no heartbeat: trying until the database answers");
        }
    }

    /// A beat was taken.
    pub(super) fn end(&self) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(began) = since.take() {
            tracing::info!(
                outage.seconds = began.elapsed().as_secs(),
                "the database answers again"
            );
        }
    }

    /// Something else failed, and is tried again.
    pub(super) fn report(&self, what: &str, error: &StoreError) {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let known = since.is_some() && error.is_outage();
        let error: &dyn std::error::Error = error;
        if known {
            tracing::debug!(error, "{what} failed; trying again");
        } else {
            tracing::warn!(error, "{what} failed; trying again");
        }
    }
}
