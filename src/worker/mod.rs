//! Runs jobs: consumes, claims, runs the handler, records the outcome, then acknowledges.
//!
//! **Invariant:** the store is written before the broker is answered. Whatever dies in between,
//! a message that comes again finds its row and is dropped or taken up where the table in
//! [`crate::job::dispose`] says.

mod adopt;
mod alone;
mod breaker;
mod cancellations;
mod circuit;
mod claim;
mod door;
mod executor;
#[cfg(test)]
mod fixture;
mod gate;
mod hand_back;
mod handler_task;
mod handlers;
mod jitter;
mod job;
mod ledger;
mod next_job;
mod pointer;
mod pool;
mod progress;
mod reconcile;
mod registration;
mod registry;
mod report;
mod running;
mod schema;
mod slots;
mod transaction;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use alone::{Hand, Isolation, serve};
pub use door::Door;
pub(crate) use handler_task::panic_message;
pub use handlers::Handlers;
pub use jitter::Jitter;
pub use job::{Attempt, Invalid, Job};
pub use next_job::NextJob;
pub use pointer::{invalid, json_pointer};
pub use registration::Registration;
pub(crate) use registry::decode;
pub use registry::{Handler, KindEntry, Registry};
pub use running::Running;
pub use transaction::Transaction;

use crate::broker::Broker;
use crate::config::Queues;
use crate::job::QueueName;
use crate::liveness::{Flow, Liveness, Progress};
use crate::store::Store;
use circuit::Circuit;
use executor::Executor;
use gate::Gate;
use ledger::Ledger;
use pool::Pool;
use progress::ProgressBoard;

/// What a worker works with.
#[derive(Debug, Clone)]
pub struct WorkerParts {
    /// Where jobs are recorded.
    pub store: Arc<dyn Store>,
    /// Where deliveries come from.
    pub broker: Arc<dyn Broker>,
    /// This process's heartbeat.
    pub liveness: Arc<Liveness>,
    /// Told of every delivery.
    pub progress: Arc<Progress>,
    /// Told of every end.
    pub flow: Arc<Flow>,
    /// How each queue is worked.
    pub queues: Arc<Queues>,
    /// Spreads retries.
    pub jitter: Jitter,
    /// What runs which kind.
    pub handlers: Arc<Handlers>,
    /// Where jobs run that have taken their process down twice; without it they run as all do.
    pub isolation: Option<Isolation>,
    /// How long a draining worker may finish what runs.
    pub shutdown_deadline: Duration,
}

/// A worker that consumes its queues.
#[derive(Debug)]
pub struct Worker {
    pools: Vec<Pool>,
    pauses: watch::Sender<Option<BTreeSet<String>>>,
    parts: WorkerParts,
    running: Arc<Running>,
    board: Arc<ProgressBoard>,
    deadline: CancellationToken,
    draining: CancellationToken,
}

impl Worker {
    /// A worker of `names`, those of them that are in the configuration. It consumes once it
    /// runs and has read which queues are paused.
    #[must_use]
    pub fn new(parts: WorkerParts, names: &[QueueName], draining: CancellationToken) -> Self {
        let deadline = CancellationToken::new();
        let running = Arc::new(Running::default());
        let give_up = deadline_after(&deadline);
        let ledger = Ledger::start(
            parts.store.clone(),
            parts.liveness.clone(),
            running.clone(),
            give_up,
        );
        let (pauses, paused) = watch::channel(None);
        let board = Arc::new(ProgressBoard::default());
        let mut pools = Vec::new();
        for name in names {
            let Some(config) = parts.queues.get(name.as_str()) else {
                continue;
            };
            let breaker = config.breaker.clone();
            let circuit = Circuit::new(name.clone(), breaker, parts.flow.clone());
            let executor = Executor {
                queue: name.clone(),
                config: config.clone(),
                memory: executor::memory(&parts.queues),
                handlers: parts.handlers.clone(),
                queues: parts.queues.clone(),
                store: parts.store.clone(),
                liveness: parts.liveness.clone(),
                progress: parts.progress.clone(),
                running: running.clone(),
                board: board.clone(),
                isolation: parts.isolation.clone(),
                ledger: ledger.clone(),
                flow: parts.flow.clone(),
                jitter: parts.jitter.clone(),
                gate: Gate::new(name.clone(), paused.clone()),
                circuit: Arc::new(circuit),
                deadline: deadline.clone(),
                draining: draining.clone(),
            };
            let kinds = parts.handlers.kinds_among(&config.kinds);
            parts.flow.works(name, kinds, config.concurrency);
            pools.push(Pool::new(parts.broker.clone(), executor));
        }
        Self {
            pools,
            pauses,
            parts,
            running,
            board,
            deadline,
            draining,
        }
    }

    /// For each queue, whether the broker has its consumers registered.
    #[must_use]
    pub fn registrations(&self) -> Vec<Registration> {
        self.pools.iter().map(Pool::registration).collect()
    }

    /// Works until `draining`, then finishes what runs within the shutdown deadline and hands
    /// back the rest with no attempt counted. `cut` ends the deadline at once.
    pub async fn run(self, cut: CancellationToken) {
        let reconciling = tokio::spawn(reconcile::reconcile(
            self.parts.store.clone(),
            self.parts.liveness.clone(),
            self.running.clone(),
        ));
        let cancelling = tokio::spawn(cancellations::watch(
            self.parts.store.clone(),
            self.parts.liveness.clone(),
            self.running.clone(),
        ));
        let writing = tokio::spawn(progress::write(
            self.parts.store.clone(),
            self.parts.liveness.clone(),
            self.board,
        ));
        let pausing = tokio::spawn(gate::watch_pauses(self.parts.store.clone(), self.pauses));
        let timer = tokio::spawn(end_deadline(
            self.deadline.clone(),
            self.draining.clone(),
            cut,
            self.parts.shutdown_deadline,
        ));
        let draining = self.draining.clone();
        join_all(
            self.pools
                .into_iter()
                .map(|pool| pool.run(draining.clone())),
        )
        .await;
        timer.abort();
        // They only read, hand back and tell; cut off at any point they leave nothing half done.
        reconciling.abort();
        cancelling.abort();
        writing.abort();
        pausing.abort();
    }
}

/// How long after the deadline the ends of runs that were cut off may still be written.
const LAST_WRITES: Duration = Duration::from_secs(3);

/// Fires a little after the deadline: the hand-backs it causes must still be written.
fn deadline_after(deadline: &CancellationToken) -> CancellationToken {
    let give_up = CancellationToken::new();
    let (deadline, fire) = (deadline.clone(), give_up.clone());
    tokio::spawn(async move {
        deadline.cancelled().await;
        tokio::time::sleep(LAST_WRITES).await;
        fire.cancel();
    });
    give_up
}

async fn end_deadline(
    deadline: CancellationToken,
    draining: CancellationToken,
    cut: CancellationToken,
    limit: Duration,
) {
    draining.cancelled().await;
    let _ = tokio::time::timeout(limit, cut.cancelled()).await;
    deadline.cancel();
}
