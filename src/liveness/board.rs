use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A value that many wait for. Whoever waits is woken in the order in which they came; a
/// `watch` channel picks an order at random, with which no simulation could be replayed.
#[derive(Debug)]
pub(super) struct Board<T> {
    posted: Mutex<Posted<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct Posted<T> {
    value: T,
    version: u64,
}

impl<T> Board<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            posted: Mutex::new(Posted { value, version: 0 }),
            changed: Notify::new(),
        }
    }

    pub(super) fn post(&self, value: T) {
        let mut posted = self.lock();
        posted.value = value;
        posted.version += 1;
        drop(posted);
        self.changed.notify_waiters();
    }

    pub(super) fn read<A>(&self, look: impl FnOnce(&T) -> A) -> A {
        look(&self.lock().value)
    }

    /// How often something was posted.
    pub(super) fn version(&self) -> u64 {
        self.lock().version
    }

    /// Until something was posted after `seen`; returns the version then.
    pub(super) async fn after(&self, seen: u64) -> u64 {
        loop {
            // Made before the look: what is posted in between is not missed.
            let changed = self.changed.notified();
            let version = self.version();
            if version > seen {
                return version;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Posted<T>> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn all_are_woken_in_the_order_in_which_they_came() {
        let board = Arc::new(Board::new(0));
        let woken = Arc::new(Mutex::new(Vec::new()));
        let waiting: Vec<_> = (0..50)
            .map(|n| {
                let (board, woken) = (board.clone(), woken.clone());
                tokio::spawn(async move {
                    board.after(0).await;
                    woken.lock().unwrap().push(n);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        board.post(1);
        futures::future::join_all(waiting).await;
        assert_eq!(*woken.lock().unwrap(), (0..50).collect::<Vec<_>>());
        assert_eq!(
            board.after(0).await,
            1,
            "what was posted before is not waited for"
        );
    }
}
