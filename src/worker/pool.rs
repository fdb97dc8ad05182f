use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::executor::Executor;
use super::registration::Registration;
use super::slots::Slot;
use crate::broker::{Broker, Consumer, Delivery, Lane, Source};
use crate::job::Priority;

/// One queue's worth of a worker process: two consumers, `concurrency` slots.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) executor: Arc<Executor>,
    broker: Arc<dyn Broker>,
    registration: Registration,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// The consumers of a queue's lanes, from one opening of its gate to the next closing.
#[derive(Debug)]
struct Lanes {
    high: Consumer,
    normal: Consumer,
}

/// Why a pool takes no more.
enum End {
    /// The queue's gate shut.
    Shut,
    /// The process drains, or the broker was closed.
    Draining,
}

impl Lanes {
    async fn open(broker: &dyn Broker, executor: &Executor) -> Self {
        let prefetch = executor.config.prefetch;
        let source = |lane| Source::new(executor.queue.clone(), lane);
        Self {
            high: broker.consume(source(Lane::High), prefetch).await,
            normal: broker.consume(source(Lane::Normal), prefetch).await,
        }
    }

    /// Ends both consumers; returns what was delivered and not taken.
    async fn close(mut self) -> Vec<(Delivery, Priority)> {
        self.high.stop();
        self.normal.stop();
        let mut left = Vec::new();
        for (consumer, priority) in [
            (&mut self.high, Priority::High),
            (&mut self.normal, Priority::Normal),
        ] {
            while let Some(delivery) = consumer.next().await {
                left.push((delivery, priority));
            }
        }
        left
    }
}

impl Pool {
    pub(super) fn new(broker: Arc<dyn Broker>, executor: Executor) -> Self {
        let concurrency = usize::try_from(executor.config.concurrency).unwrap_or(1);
        Self {
            executor: Arc::new(executor),
            broker,
            registration: Registration::default(),
            slots: Arc::new(Semaphore::new(concurrency)),
            tasks: TaskTracker::new(),
        }
    }

    /// Whether the consumers are registered with the broker.
    pub(super) fn registration(&self) -> Registration {
        self.registration.clone()
    }

    /// Consumes while the queue's gate is open, until `draining`; then gives back what was not
    /// started and waits for what was. The executor's own deadline bounds that wait.
    pub(super) async fn run(self, draining: CancellationToken) {
        let gate = self.executor.gate.clone();
        loop {
            let opened = async {
                if gate.is_paused().await {
                    self.registration.paused();
                }
                gate.opened().await;
            };
            if draining.run_until_cancelled(opened).await.is_none() {
                return self.drain(Vec::new()).await;
            }
            let mut lanes = Lanes::open(&*self.broker, &self.executor).await;
            let registered = [lanes.high.registered(), lanes.normal.registered()];
            self.registration.consuming(registered);
            match self.take(&mut lanes, &draining).await {
                End::Draining => return self.drain(lanes.close().await).await,
                End::Shut => {
                    self.registration.paused();
                    self.hand_back(lanes.close().await).await;
                }
            }
        }
    }

    /// Takes deliveries while there are slots, the high lane first.
    async fn take(&self, lanes: &mut Lanes, draining: &CancellationToken) -> End {
        let gate = &self.executor.gate;
        loop {
            let slot = tokio::select! {
                biased;
                () = draining.cancelled() => return End::Draining,
                () = gate.shut() => return End::Shut,
                slot = Slot::next(&self.slots) => slot,
            };
            let Some(slot) = slot else {
                return End::Draining;
            };
            let (delivery, priority) = tokio::select! {
                biased;
                () = draining.cancelled() => return End::Draining,
                () = gate.shut() => return End::Shut,
                Some(delivery) = lanes.high.next() => (delivery, Priority::High),
                Some(delivery) = lanes.normal.next() => (delivery, Priority::Normal),
                // Both ended: the broker was closed.
                else => return End::Draining,
            };
            let executor = self.executor.clone();
            self.tasks
                .spawn(async move { executor.execute(delivery, priority, slot).await });
        }
    }

    /// The queue was paused.
    async fn hand_back(&self, left: Vec<(Delivery, Priority)>) {
        let handed_back = self.executor.hand_back_all(left).await;
        tracing::info!(
            queue.name = %self.executor.queue,
            jobs.running = self.tasks.len(),
            jobs.handed_back = handed_back,
            "paused"
        );
    }

    async fn drain(self, left: Vec<(Delivery, Priority)>) {
        // Handed back at once, not when the last handler ends: another worker may be idle.
        let given_back = left.len();
        left.into_iter()
            .for_each(|(delivery, _)| delivery.release());
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
