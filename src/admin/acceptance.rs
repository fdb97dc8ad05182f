use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::job::{NewJob, QueueName, State};
use crate::liveness::{Flow, Liveness};
use crate::relay::{Dispatcher, Reservation};
use crate::store::{
    GroupCommit, Inserted, Insertion, OutboxEntry, ReusedKeys, Store, StoreError, StoreResult,
};

/// Jobs inserted in one transaction at most.
const BATCH: usize = 500;
/// How long the publisher of a fresh insert has before any relay may take over: what a job
/// waits when its intake dies between commit and publish.
const LEASE: Duration = Duration::from_secs(5);

/// How long a submission waits for its turn. What cannot be begun by then is refused, while its
/// caller still listens: more is offered than the store can take, and a longer queue would only
/// make every answer later.
const TURN: Duration = Duration::from_secs(5);

/// Whole batches that are written at the same time: each holds a connection for longer than a
/// share of a group commit does.
const WHOLE_BATCHES: usize = 2;
/// How often a whole batch that met a deadlock or serialization failure is tried again.
const CONTENTION_RETRIES: u32 = 8;

/// Makes jobs durable, then dispatches them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Acceptance {
    singly: GroupCommit<NewJob, Inserted>,
    whole: Arc<Whole>,
}

/// What a batch that is accepted as a whole takes.
#[derive(Debug)]
struct Whole {
    store: Arc<dyn Store>,
    liveness: Arc<Liveness>,
    dispatcher: Dispatcher,
    flow: Arc<Flow>,
    places: Semaphore,
}

impl Acceptance {
    /// Starts the task that commits; it ends with the last clone.
    #[must_use]
    pub fn start(
        store: Arc<dyn Store>,
        liveness: Arc<Liveness>,
        dispatcher: Dispatcher,
        flow: Arc<Flow>,
    ) -> Self {
        let whole = Arc::new(Whole {
            store: store.clone(),
            liveness: liveness.clone(),
            dispatcher: dispatcher.clone(),
            flow: flow.clone(),
            places: Semaphore::new(WHOLE_BATCHES),
        });
        let weigh = |job: &NewJob| job.payload.len();
        let write = move |batch: Arc<[NewJob]>| {
            let (store, dispatcher, me) = (store.clone(), dispatcher.clone(), liveness.me());
            let flow = flow.clone();
            async move {
                let room = dispatcher.reserve(batch.len(), bytes(&batch)).await;
                let insertion = store.insert(me, &batch, lease(room.as_ref())).await?;
                count(&flow, &batch, &insertion);
                // From here on the jobs are accepted, whatever becomes of this process.
                if let (Some(entry), Some(room)) = (to_publish(&batch, &insertion), room) {
                    dispatcher.dispatch_reserved(entry, room);
                }
                Ok(insertion.jobs)
            }
        };
        Self {
            singly: GroupCommit::spawn_bounded(BATCH, weigh, TURN, write),
            whole,
        }
    }

    /// Accepts a job. When it returns `Accepted` the job is committed.
    ///
    /// # Errors
    /// The store's; `Overloaded` when its turn did not come in time, and it was not begun. After
    /// another transient one the job may or may not have been committed.
    pub async fn accept(&self, job: NewJob) -> StoreResult<Inserted> {
        self.singly.submit(job).await
    }

    /// Accepts all of the jobs in one transaction, or, where a key was used for something else,
    /// none of them.
    ///
    /// # Errors
    /// The store's; `Overloaded` when its turn did not come in time, and it was not begun. After
    /// another transient one all of them or none may have been committed.
    pub async fn accept_all(
        &self,
        jobs: &[NewJob],
    ) -> StoreResult<Result<Vec<Inserted>, ReusedKeys>> {
        let whole = &self.whole;
        let place = tokio::time::timeout(TURN, whole.places.acquire()).await;
        let place = place.map_err(|_| StoreError::Overloaded)?;
        let _place = place.map_err(|_| StoreError::Stopping)?;
        let room = whole.dispatcher.reserve(jobs.len(), bytes(jobs)).await;
        let lease = lease(room.as_ref());
        let mut tries = 0;
        let answer = loop {
            match whole
                .store
                .insert_all(whole.liveness.me(), jobs, lease)
                .await
            {
                Err(StoreError::Contention(_)) if tries < CONTENTION_RETRIES => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(5) * tries).await;
                }
                answer => break answer?,
            }
        };
        Ok(answer.map(|insertion| {
            count(&whole.flow, jobs, &insertion);
            if let (Some(entry), Some(room)) = (to_publish(jobs, &insertion), room) {
                whole.dispatcher.dispatch_reserved(entry, room);
            }
            insertion.jobs
        }))
    }
}

/// Of payload.
fn bytes(jobs: &[NewJob]) -> usize {
    jobs.iter().map(|job| job.payload.len()).sum()
}

/// What this process has no room to publish, any relay may publish at once.
fn lease(room: Option<&Reservation>) -> Duration {
    room.map_or(Duration::ZERO, |_| LEASE)
}

fn count(flow: &Flow, jobs: &[NewJob], insertion: &Insertion) {
    let accepted = |inserted: &Inserted| matches!(inserted, Inserted::Accepted { .. });
    let each = jobs.iter().zip(&insertion.jobs);
    let queues = each.filter_map(|(job, inserted)| accepted(inserted).then_some(&job.queue));
    let mut counts: BTreeMap<&QueueName, u64> = BTreeMap::new();
    queues.for_each(|queue| *counts.entry(queue).or_default() += 1);
    for (queue, jobs) in counts {
        flow.accepted(queue, jobs);
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

#[cfg(test)]
mod tests;
