use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::breaker::Mode;
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
    /// The queue's gate shut, or its circuit breaker moved.
    Shut,
    /// The process drains, or the broker was closed.
    Draining,
}

impl Lanes {
    async fn open(broker: &dyn Broker, executor: &Executor, mode: Mode) -> Self {
        let prefetch = match mode {
            // The others are of use elsewhere.
            Mode::Probing => 1,
            Mode::Flowing | Mode::Shut(_) => executor.config.prefetch,
        };
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

    /// Consumes while the queue's gate and its circuit breaker are open to it, until `draining`;
    /// then gives back what was not started and waits for what was. The executor's own deadline
    /// bounds that wait.
    pub(super) async fn run(self, draining: CancellationToken) {
        loop {
            let Some(mode) = draining.run_until_cancelled(self.ready()).await else {
                return self.drain(Vec::new()).await;
            };
            let mut lanes = Lanes::open(&*self.broker, &self.executor, mode).await;
            let registered = [lanes.high.registered(), lanes.normal.registered()];
            self.registration.consuming(registered);
            match self.take(&mut lanes, mode, &draining).await {
                End::Draining => return self.drain(lanes.close().await).await,
                End::Shut => {
                    self.registration.paused();
                    self.let_go(lanes.close().await).await;
                }
            }
        }
    }

    /// Until the queue may be consumed; in which way.
    async fn ready(&self) -> Mode {
        let (gate, circuit) = (&self.executor.gate, &self.executor.circuit);
        if gate.is_paused().await {
            self.registration.paused();
        }
        loop {
            gate.opened().await;
            let mode = circuit.ready().await;
            // It may have been paused during a cool-down.
            if gate.is_open() {
                return mode;
            }
        }
    }

    /// Takes deliveries while there are slots, the high lane first; one after the other while
    /// the queue's circuit breaker lets one through.
    async fn take(&self, lanes: &mut Lanes, mode: Mode, draining: &CancellationToken) -> End {
        let shut = async {
            tokio::select! {
                () = self.executor.gate.shut() => {}
                () = self.executor.circuit.leaves(mode) => {}
            }
        };
        tokio::pin!(shut);
        loop {
            let slot = tokio::select! {
                biased;
                () = draining.cancelled() => return End::Draining,
                () = &mut shut => return End::Shut,
                slot = Slot::next(&self.slots) => slot,
            };
            let Some(slot) = slot else {
                return End::Draining;
            };
            let (delivery, priority) = tokio::select! {
                biased;
                () = draining.cancelled() => return End::Draining,
                () = &mut shut => return End::Shut,
                Some(delivery) = lanes.high.next() => (delivery, Priority::High),
                Some(delivery) = lanes.normal.next() => (delivery, Priority::Normal),
                // Both ended: the broker was closed.
                else => return End::Draining,
            };
            let running = self.execute(delivery, priority, slot);
            if mode == Mode::Probing {
                tokio::select! {
                    biased;
                    () = draining.cancelled() => return End::Draining,
                    () = &mut shut => return End::Shut,
                    _ = running => {}
                }
            }
        }
    }

    fn execute(&self, delivery: Delivery, priority: Priority, slot: Slot) -> JoinHandle<()> {
        let executor = self.executor.clone();
        self.tasks
            .spawn(async move { executor.execute(delivery, priority, slot).await })
    }

    /// Deals with what was delivered and not started. While what it needs is down it waits in
    /// the store; otherwise it goes back by way of the outbox.
    async fn let_go(&self, left: Vec<(Delivery, Priority)>) {
        let executor = &self.executor;
        if executor.gate.is_open() && executor.circuit.is_open() {
            for (delivery, priority) in left {
                self.execute(delivery, priority, Slot::none());
            }
            return;
        }
        let paused = !executor.gate.is_open();
        let handed_back = executor.hand_back_all(left).await;
        if paused {
            tracing::info!(
                queue.name = %executor.queue,
                jobs.running = self.tasks.len(),
                jobs.handed_back = handed_back,
                "paused"
            );
        }
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
