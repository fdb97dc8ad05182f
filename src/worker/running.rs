use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::job::{JobId, ProcessId};

/// What runs in this process: every claim that was won and whose end is not yet recorded, and
/// every claim that is being asked for.
///
/// The store's view of what this process owns is compared with it; what the store says we own
/// and this table does not hold was claimed in a call whose answer never arrived.
#[derive(Debug, Default)]
pub struct Running(Mutex<HashMap<JobId, Entry>>);

#[derive(Debug, Clone, Copy)]
struct Entry {
    claims: u32,
    run: Option<(ProcessId, i32)>,
}

/// Holds a job's place in the table until it is dropped.
#[derive(Debug)]
pub struct Presence {
    table: Arc<Running>,
    id: JobId,
}

impl Running {
    /// A delivery of this job is being worked on.
    #[must_use]
    pub fn enter(self: &Arc<Self>, id: JobId) -> Presence {
        let entry = Entry {
            claims: 0,
            run: None,
        };
        self.lock().entry(id).or_insert(entry).claims += 1;
        Presence {
            table: self.clone(),
            id,
        }
    }

    /// A claim of this job was won; nothing if no delivery of it is in hand any more.
    pub fn won(&self, id: JobId, owner: ProcessId, epoch: i32) {
        if let Some(entry) = self.lock().get_mut(&id) {
            entry.run = Some((owner, epoch));
        }
    }

    /// True if a handler runs here for this job under this claim.
    #[must_use]
    pub fn runs(&self, id: JobId, owner: ProcessId, epoch: i32) -> bool {
        self.lock()
            .get(&id)
            .is_some_and(|entry| entry.run == Some((owner, epoch)))
    }

    /// True if this job is in any way in hand here.
    #[must_use]
    pub fn holds(&self, id: JobId) -> bool {
        self.lock().contains_key(&id)
    }

    /// How many jobs are in hand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// True if nothing is in hand.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Presence {
    /// The handler has ended and its end is recorded or refused.
    pub fn ended(&self, owner: ProcessId, epoch: i32) {
        if let Some(entry) = self.table.lock().get_mut(&self.id)
            && entry.run == Some((owner, epoch))
        {
            entry.run = None;
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        if let Some(entry) = table.get_mut(&self.id) {
            entry.claims -= 1;
            if entry.claims == 0 {
                table.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_held_until_its_last_delivery_is_dropped() {
        let table = Arc::new(Running::default());
        let id = JobId::new();
        let first = table.enter(id);
        let second = table.enter(id);
        table.won(id, ProcessId(1), 3);
        assert!(table.runs(id, ProcessId(1), 3));
        assert!(!table.runs(id, ProcessId(1), 4));
        drop(second);
        assert!(table.holds(id));
        first.ended(ProcessId(1), 3);
        assert!(!table.runs(id, ProcessId(1), 3));
        drop(first);
        assert!(table.is_empty());
    }
}
