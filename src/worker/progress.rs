use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::job::{JobId, RunProgress};
use crate::liveness::Liveness;
use crate::store::{Fence, ProgressNote, Store};

/// How often what handlers said is written down: a job at most this often, all in one batch.
const EVERY: Duration = Duration::from_secs(1);

/// What handlers of this process have said of how far they are and nobody has written yet: of
/// each run the last word. As many as there are runs.
#[derive(Debug, Default)]
pub(super) struct ProgressBoard(Mutex<HashMap<JobId, ProgressNote>>);

impl ProgressBoard {
    /// Never waits for more than another handler's word.
    pub(super) fn post(&self, fence: Fence, progress: RunProgress) {
        self.lock()
            .insert(fence.id, ProgressNote { fence, progress });
    }

    /// The run has ended: its last word is of no use any more.
    pub(super) fn ended(&self, fence: Fence) {
        let mut notes = self.lock();
        if let Entry::Occupied(note) = notes.entry(fence.id)
            && note.get().fence == fence
        {
            note.remove();
        }
    }

    fn take(&self) -> Vec<ProgressNote> {
        self.lock().drain().map(|(_, note)| note).collect()
    }

    /// Puts back what could not be written, where nothing newer was said meanwhile.
    fn put_back(&self, notes: Vec<ProgressNote>) {
        let mut board = self.lock();
        for note in notes {
            board.entry(note.fence.id).or_insert(note);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, ProgressNote>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes down what handlers say.
pub(super) async fn write(
    store: Arc<dyn Store>,
    liveness: Arc<Liveness>,
    board: Arc<ProgressBoard>,
) {
    loop {
        tokio::time::sleep(EVERY).await;
        let notes = board.take();
        if notes.is_empty() {
            continue;
        }
        match store.note_progress(&notes).await {
            Ok(()) => {}
            // Nothing that waiting would mend, and nothing that anybody depends on.
            Err(error) if error.is_data() => liveness.report("writing down progress", &error),
            Err(error) => {
                liveness.report("writing down progress", &error);
                board.put_back(notes);
            }
        }
    }
}
