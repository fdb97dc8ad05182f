use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The right to run one handler. Given back while a delivery is parked, because waiting for
/// another process's fate is no work.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Slot {
    /// The next free slot; never fails while the semaphore is open.
    pub(super) async fn next(slots: &Arc<Semaphore>) -> Option<Self> {
        let permit = slots.clone().acquire_owned().await.ok()?;
        Some(Self {
            slots: slots.clone(),
            permit: Some(permit),
        })
    }

    /// Lets another delivery run.
    pub(super) fn give_back(&mut self) {
        self.permit = None;
    }

    /// Waits for a slot again.
    pub(super) async fn take_again(&mut self) {
        if self.permit.is_none() {
            self.permit = self.slots.clone().acquire_owned().await.ok();
        }
    }
}
