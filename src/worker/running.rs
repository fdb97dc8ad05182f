use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::job::{JobId, ProcessId};

/// What runs in this process: every claim that was won and whose end is not yet recorded, and
/// every claim that is being asked for.
///
/// The store's view of what this process owns is compared with it; what the store says we own
/// and this table does not hold was claimed in a call whose answer never arrived.
#[derive(Debug, Default)]
pub struct Running(Mutex<HashMap<JobId, Entry>>);

#[derive(Debug)]
struct Entry {
    claims: u32,
    run: Option<Run>,
}

#[derive(Debug)]
struct Run {
    claim: (ProcessId, i32),
    /// Fires when an operator wants the job cancelled.
    stop: CancellationToken,
}

impl Entry {
    fn run_of(&self, claim: (ProcessId, i32)) -> Option<&Run> {
        self.run.as_ref().filter(|run| run.claim == claim)
    }
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
            entry.run = Some(Run {
                claim: (owner, epoch),
                stop: CancellationToken::new(),
            });
        }
    }

    /// Asks the handler that runs for this job under this claim, if there is one, to stop.
    pub fn stop(&self, id: JobId, owner: ProcessId, epoch: i32) {
        let table = self.lock();
        let entry = table.get(&id);
        if let Some(run) = entry.and_then(|entry| entry.run_of((owner, epoch))) {
            run.stop.cancel();
        }
    }

    /// True if a handler runs here for this job under this claim.
    #[must_use]
    pub fn runs(&self, id: JobId, owner: ProcessId, epoch: i32) -> bool {
        self.lock()
            .get(&id)
            .is_some_and(|entry| entry.run_of((owner, epoch)).is_some())
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
    /// Fires when an operator wants this run cancelled.
    #[must_use]
    pub fn stop(&self, owner: ProcessId, epoch: i32) -> CancellationToken {
        let table = self.table.lock();
        let entry = table.get(&self.id);
        let run = entry.and_then(|entry| entry.run_of((owner, epoch)));
        run.map(|run| run.stop.clone()).unwrap_or_default()
    }

    /// The handler has ended and its end is recorded or refused.
    pub fn ended(&self, owner: ProcessId, epoch: i32) {
        if let Some(entry) = self.table.lock().get_mut(&self.id)
            && entry.run_of((owner, epoch)).is_some()
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
        let stop = first.stop(ProcessId(1), 3);
        table.stop(id, ProcessId(1), 4);
        assert!(!stop.is_cancelled(), "another run was meant");
        table.stop(id, ProcessId(1), 3);
        assert!(stop.is_cancelled());
        drop(second);
        assert!(table.holds(id));
        first.ended(ProcessId(1), 3);
        assert!(!table.runs(id, ProcessId(1), 3));
        drop(first);
        assert!(table.is_empty());
    }
}
