use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Consumers of a queue: one a lane.
const CONSUMERS: usize = 2;

/// Whether the consumers of one queue are registered with the broker, as far as they should be.
#[derive(Debug, Clone, Default)]
pub struct Registration(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    /// It is not known yet whether the queue is paused.
    #[default]
    Waiting,
    /// There should be none.
    Paused,
    /// One flag a consumer.
    Consuming([watch::Receiver<bool>; CONSUMERS]),
}

impl Registration {
    /// How many consumers there should be.
    #[must_use]
    pub const fn all() -> usize {
        CONSUMERS
    }

    /// How many of them are not registered; none while the queue is paused.
    #[must_use]
    pub fn missing(&self) -> usize {
        match &*self.lock() {
            State::Waiting => CONSUMERS,
            State::Paused => 0,
            State::Consuming(flags) => flags.iter().filter(|flag| !*flag.borrow()).count(),
        }
    }

    pub(super) fn paused(&self) {
        *self.lock() = State::Paused;
    }

    pub(super) fn consuming(&self, registered: [watch::Receiver<bool>; CONSUMERS]) {
        *self.lock() = State::Consuming(registered);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
