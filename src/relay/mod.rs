//! Moves what the store holds and the broker lacks: what was not published, what has come due,
//! what was lost, what a dead process left, and what the broker dead-lettered. Executes what
//! operators begin. Prunes.
//!
//! A relay runs in every process, so that no kind of process is needed for progress. Relays are
//! safe side by side: rows are leased with `SKIP LOCKED` or its like, and a message that is
//! published twice is harmless.

mod dead_letters;
mod dispatcher;
mod due;
mod lost;
mod operations;
mod outbox;
mod prune;
mod report;
mod rescue;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use dispatcher::{Dispatcher, Reservation};
pub use operations::OperationExecutor;

use crate::broker::Broker;
use crate::config::Queues;
use crate::liveness::{Flow, Liveness, Progress};
use crate::store::Store;

/// How long an entry is left to whoever leased it. A publish is confirmed, refused or timed out
/// well within it.
pub const LEASE: Duration = Duration::from_secs(30);
/// Jobs moved in one transaction at most.
const BATCH: u32 = 200;

/// What a relay works with.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Where dispatches are due.
    pub store: Arc<dyn Store>,
    /// Where they go.
    pub broker: Arc<dyn Broker>,
    /// Who has fallen silent.
    pub liveness: Arc<Liveness>,
    /// How far this process has seen each queue delivered.
    pub progress: Arc<Progress>,
    /// What passes through this process.
    pub flow: Arc<Flow>,
    /// What queues there are.
    pub queues: Arc<Queues>,
    /// Publishes.
    pub dispatcher: Dispatcher,
}

impl Relay {
    /// Runs every loop until `stop`. A loop is cut off wherever it waits: a transaction that is
    /// dropped is rolled back, and a lease that is dropped runs out.
    pub async fn run(self, stop: CancellationToken) {
        let relay = Arc::new(self);
        let loops = TaskTracker::new();
        let cut = |run| stop.clone().run_until_cancelled_owned(run);
        loops.spawn(cut(outbox::run(relay.clone()).boxed()));
        loops.spawn(cut(due::run(relay.clone()).boxed()));
        loops.spawn(cut(rescue::run(relay.clone()).boxed()));
        loops.spawn(cut(lost::run(relay.clone()).boxed()));
        loops.spawn(cut(lost::watch_created(relay.clone()).boxed()));
        loops.spawn(cut(operations::run(relay.clone()).boxed()));
        loops.spawn(cut(prune::run(relay.clone()).boxed()));
        loops.spawn(cut(report::run(relay.clone()).boxed()));
        for queue in relay.queues.names() {
            let ingest = dead_letters::run(relay.clone(), queue.clone());
            loops.spawn(cut(ingest.boxed()));
        }
        loops.close();
        loops.wait().await;
    }
}
