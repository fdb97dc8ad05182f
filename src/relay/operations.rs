use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::Relay;
use super::dispatcher::failure;
use crate::broker::Broker;
use crate::store::{Operation, OperationId, OutboxEntry, StepBy, Store, StoreResult};

/// Jobs of one step at most.
const BATCH: u32 = 500;
/// How long after its last step an operation is left to its executor.
const HOLD: Duration = Duration::from_secs(10);
/// How long the broker may take to confirm a step's jobs before the next step; they stay in the
/// outbox, from where a relay publishes them later.
const CONFIRM: Duration = Duration::from_secs(8);
/// How often operations are looked for.
const IDLE: Duration = Duration::from_millis(500);

/// Executes operations step by step: in a relay, all there are; in a command line, its own.
///
/// A step is published before the next one is taken, so jobs go back in their order. Whoever
/// takes over after a crash publishes first what the dead executor may not have.
#[derive(Debug)]
pub struct OperationExecutor {
    store: Arc<dyn Store>,
    broker: Option<Arc<dyn Broker>>,
    by: StepBy,
}

impl OperationExecutor {
    /// An executor. Without a broker in reach it leaves publishing to the relays.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, broker: Option<Arc<dyn Broker>>) -> Self {
        let lease = match broker {
            Some(_) => HOLD,
            None => Duration::ZERO,
        };
        let by = StepBy {
            executor: Uuid::now_v7(),
            batch: BATCH,
            hold: HOLD,
            lease,
        };
        Self { store, broker, by }
    }

    /// Takes a step of an operation (of `only`, if given) and returns how it stands; `None` if
    /// there is nothing for this executor to do now.
    ///
    /// # Errors
    /// Those of the store; the step was not taken, or its answer was lost.
    pub async fn step(&self, only: Option<OperationId>) -> StoreResult<Option<Operation>> {
        let Some(advance) = self.store.advance(&self.by, only).await? else {
            return Ok(None);
        };
        if let (Some(entry), Some(broker)) = (advance.entry, &self.broker) {
            self.publish(&**broker, entry).await;
        }
        Ok(Some(advance.operation))
    }

    async fn publish(&self, broker: &dyn Broker, entry: OutboxEntry) {
        let published = tokio::time::timeout(CONFIRM, broker.publish(&entry.publications)).await;
        if !published.is_ok_and(|answers| failure(answers).is_none()) {
            tracing::debug!(
                outbox.entry = entry.id.0,
                "not published; a relay will try again"
            );
            return;
        }
        // A crash before this publishes all of it again: duplicates are fenced.
        if let Err(error) = self.store.settle_outbox(&[entry.id]).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                outbox.entry = entry.id.0,
                "not settled; a relay will publish it again"
            );
        }
    }
}

/// Executes what operators have begun, wherever they began it.
pub(super) async fn run(relay: Arc<Relay>) {
    let executor = OperationExecutor::new(relay.store.clone(), Some(relay.broker.clone()));
    loop {
        match executor.step(None).await {
            Ok(Some(operation)) => {
                if operation.state.is_final() {
                    report(&operation);
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => relay.liveness.report("executing an operation", &error),
        }
        tokio::time::sleep(IDLE).await;
    }
}

fn report(operation: &Operation) {
    tracing::info!(
        operation.id = %operation.id,
        operation.action = %operation.action,
        operation.by = operation.created_by,
        jobs.matched = operation.matched,
        jobs.done = operation.done,
        jobs.skipped = operation.skipped,
        jobs.failed = operation.failed,
        "operation done"
    );
}
