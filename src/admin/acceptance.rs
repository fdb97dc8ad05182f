use std::sync::Arc;
use std::time::Duration;

use crate::job::{NewJob, State};
use crate::liveness::Liveness;
use crate::relay::Dispatcher;
use crate::store::{GroupCommit, Inserted, Insertion, OutboxEntry, Store, StoreResult};

/// Jobs inserted in one transaction at most.
const BATCH: usize = 500;
/// How long the publisher of a fresh insert has before any relay may take over: what a job
/// waits when its intake dies between commit and publish.
const LEASE: Duration = Duration::from_secs(5);

/// Makes jobs durable, then dispatches them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Acceptance(GroupCommit<NewJob, Inserted>);

impl Acceptance {
    /// Starts the task that commits; it ends with the last clone.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, liveness: Arc<Liveness>, dispatcher: Dispatcher) -> Self {
        let weigh = |job: &NewJob| job.payload.len();
        Self(GroupCommit::spawn_weighed(
            BATCH,
            weigh,
            move |batch: Arc<[NewJob]>| {
                let (store, dispatcher, me) = (store.clone(), dispatcher.clone(), liveness.me());
                async move {
                    let insertion = store.insert(me, &batch, LEASE).await?;
                    // From here on the jobs are accepted, whatever becomes of this process.
                    if let Some(entry) = to_publish(&batch, &insertion) {
                        dispatcher.try_dispatch(entry);
                    }
                    Ok(insertion.jobs)
                }
            },
        ))
    }

    /// Accepts a job. When it returns `Accepted` the job is committed.
    ///
    /// # Errors
    /// The store's. After a transient one the job may or may not have been committed.
    pub async fn accept(&self, job: NewJob) -> StoreResult<Inserted> {
        self.0.submit(job).await
    }
}

fn to_publish(batch: &[NewJob], insertion: &Insertion) -> Option<OutboxEntry> {
    let queued = |inserted: &Inserted| {
        matches!(
            inserted,
            Inserted::Accepted {
                state: State::Queued,
                ..
            }
        )
    };
    let publications = batch
        .iter()
        .zip(&insertion.jobs)
        .filter(|(_, inserted)| queued(inserted))
        .map(|(job, _)| job.first_dispatch())
        .collect();
    Some(OutboxEntry {
        id: insertion.outbox?,
        publications,
    })
}
