use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::executor::Executor;
use super::slots::Slot;
use crate::broker::{Broker, Consumer, Lane, Source};
use crate::job::Priority;

/// One queue's worth of a worker process: two consumers, `concurrency` slots.
#[derive(Debug)]
pub(super) struct Pool {
    executor: Arc<Executor>,
    high: Consumer,
    normal: Consumer,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Pool {
    pub(super) async fn open(broker: &dyn Broker, executor: Executor) -> Self {
        let prefetch = executor.config.prefetch;
        let concurrency = usize::try_from(executor.config.concurrency).unwrap_or(1);
        let source = |lane| Source::new(executor.queue.clone(), lane);
        let high = broker.consume(source(Lane::High), prefetch).await;
        let normal = broker.consume(source(Lane::Normal), prefetch).await;
        Self {
            executor: Arc::new(executor),
            high,
            normal,
            slots: Arc::new(Semaphore::new(concurrency)),
            tasks: TaskTracker::new(),
        }
    }

    /// Whether each of the consumers is registered with the broker.
    pub(super) fn registered(&self) -> [watch::Receiver<bool>; 2] {
        [self.high.registered(), self.normal.registered()]
    }

    /// Takes deliveries while there are slots, the high lane first, until `draining`; then
    /// gives back what was not started and waits for what was. The executor's own deadline
    /// bounds that wait.
    pub(super) async fn run(mut self, draining: CancellationToken) {
        while let Some(slot) = self.slot(&draining).await {
            let (delivery, priority) = tokio::select! {
                biased;
                () = draining.cancelled() => break,
                Some(delivery) = self.high.next() => (delivery, Priority::High),
                Some(delivery) = self.normal.next() => (delivery, Priority::Normal),
                // Both ended: the broker was closed.
                else => break,
            };
            let executor = self.executor.clone();
            self.tasks
                .spawn(async move { executor.execute(delivery, priority, slot).await });
        }
        self.drain().await;
    }

    async fn slot(&self, draining: &CancellationToken) -> Option<Slot> {
        draining
            .run_until_cancelled(Slot::next(&self.slots))
            .await
            .flatten()
    }

    async fn drain(mut self) {
        self.high.stop();
        self.normal.stop();
        // Handed back at once, not when the last handler ends: another worker may be idle.
        let mut given_back = 0_u32;
        for consumer in [&mut self.high, &mut self.normal] {
            while let Some(delivery) = consumer.next().await {
                delivery.release();
                given_back += 1;
            }
        }
        let running = self.tasks.len();
        tracing::info!(
            queue.name = %self.executor.queue,
            jobs.running = running,
            jobs.given_back = given_back,
            "draining"
        );
        self.tasks.close();
        self.tasks.wait().await;
    }
}
