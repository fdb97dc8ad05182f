//! How far runs have come, in their handlers' own words.

use async_trait::async_trait;

use super::{Fence, StoreResult};
use crate::job::RunProgress;

/// How far a run has come.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgressNote {
    /// Whose.
    pub fence: Fence,
    /// How far.
    pub progress: RunProgress,
}

/// Keeps what handlers say of how far they are.
///
/// It is kept while the run is under way and gone with its end, whatever that is: a job that is
/// tried again begins anew.
///
/// # Errors
/// As [`Store`](super::Store) says of all its methods.
#[async_trait]
pub trait ProgressNotes {
    /// Replaces what is known of these runs; each run at most once. One whose fence does not hold
    /// any more is passed over: nothing depends on it.
    async fn note_progress(&self, notes: &[ProgressNote]) -> StoreResult<()>;
}
