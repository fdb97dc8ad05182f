use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The right to run one handler. Given back while a delivery is parked, because waiting for
/// another process's fate is no work.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Option<Arc<Semaphore>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Slot {
    /// The next free slot; never fails while the semaphore is open.
    pub(super) async fn next(slots: &Arc<Semaphore>) -> Option<Self> {
        let permit = slots.clone().acquire_owned().await.ok()?;
        Some(Self {
            slots: Some(slots.clone()),
            permit: Some(permit),
        })
    }

    /// The right to deal with a delivery, but to run nothing.
    pub(super) const fn none() -> Self {
        Self {
            slots: None,
            permit: None,
        }
    }

    /// Whether a handler may run in it.
    pub(super) const fn runs(&self) -> bool {
        self.slots.is_some()
    }

    /// Lets another delivery run.
    pub(super) fn give_back(&mut self) {
        self.permit = None;
    }

    /// Waits for a slot again.
    pub(super) async fn take_again(&mut self) {
        if let (Some(slots), None) = (&self.slots, &self.permit) {
            self.permit = slots.clone().acquire_owned().await.ok();
        }
    }
}
