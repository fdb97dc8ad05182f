use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::job::QueueName;

/// Announcements that a slow listener may lag behind by before it misses one. A queue is
/// created rarely, and one announcement covers both of its lanes.
const BACKLOG: usize = 1024;

/// Tells whoever listens which queues had to be created anew.
pub(super) struct Created {
    listeners: broadcast::Sender<QueueName>,
    // Nobody listened yet. The first listener learns of them: a process may well touch the
    // broker before its relay runs.
    unheard: Mutex<BTreeSet<QueueName>>,
}

impl Created {
    pub(super) fn new() -> Self {
        Self {
            listeners: broadcast::Sender::new(BACKLOG),
            unheard: Mutex::default(),
        }
    }

    pub(super) fn announce(&self, queue: &QueueName) {
        // Held so that no listener arrives between the failed send and the note.
        let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        if self.listeners.send(queue.clone()).is_err() {
            unheard.insert(queue.clone());
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<QueueName> {
        let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = self.listeners.subscribe();
        for queue in std::mem::take(&mut *unheard) {
            // Cannot fail: `listener` is alive.
            let _ = self.listeners.send(queue);
        }
        listener
    }
}

impl fmt::Debug for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Created").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_heard_is_told_to_the_first_listener_only() {
        let created = Created::new();
        let queue: QueueName = "email".parse().unwrap();
        created.announce(&queue);
        let mut first = created.subscribe();
        assert_eq!(first.try_recv(), Ok(queue.clone()));
        let mut second = created.subscribe();
        assert!(second.try_recv().is_err());
        created.announce(&queue);
        assert_eq!(first.try_recv(), Ok(queue.clone()));
        assert_eq!(second.try_recv(), Ok(queue));
    }
}
