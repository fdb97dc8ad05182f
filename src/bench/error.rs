use super::load::LoadError;
use super::process::ProcessError;
use crate::broker::BrokerError;
use crate::store::StoreError;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A process of the bench.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Figures that cannot be put together.
    #[error("the figures of the runs cannot be put together: {0}")]
    Figures(serde_json::Error),
    /// Jobs were accepted and not published.
    #[error("{published} of {wanted} jobs came to the broker, and none in the last minute")]
    Unpublished {
        /// How many did.
        published: u64,
        /// How many should have.
        wanted: u64,
    },
    /// Jobs were accepted and not brought to an end.
    #[error("{done} of {wanted} jobs came to their end, and none in the last minute")]
    Stuck {
        /// How many did.
        done: u64,
        /// How many should have.
        wanted: u64,
    },
}
