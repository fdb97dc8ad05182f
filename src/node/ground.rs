use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Shutdown, Work};
use crate::admin::{Acceptance, Pulse, Waiter};
use crate::broker::Broker;
use crate::config::Queues;
use crate::intake::{Description, Gate, Intake, Readers, Readiness};
use crate::liveness::{Flow, Liveness, Progress};
use crate::relay::{Dispatcher, Relay};
use crate::store::Store;
use crate::worker::{Jitter, Registration, Registry, Worker, WorkerParts};

/// What everything in a process stands on.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) store: Arc<dyn Store>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) queues: Arc<Queues>,
    pub(super) liveness: Arc<Liveness>,
    pub(super) progress: Arc<Progress>,
    pub(super) flow: Arc<Flow>,
}

impl Ground {
    /// Starts the heartbeat and the relay.
    pub(super) fn keep_up(
        &self,
        dispatcher: Dispatcher,
        stop: &CancellationToken,
    ) -> Vec<JoinHandle<()>> {
        let relay = Relay {
            store: self.store.clone(),
            broker: self.broker.clone(),
            liveness: self.liveness.clone(),
            progress: self.progress.clone(),
            flow: self.flow.clone(),
            queues: self.queues.clone(),
            dispatcher,
        };
        let (heart, beating) = (self.liveness.clone(), stop.clone());
        vec![
            tokio::spawn(async move { heart.run(beating).await }),
            tokio::spawn(relay.run(stop.clone())),
        ]
    }

    /// Starts a worker; the process is ready when each of its consumers is registered.
    pub(super) fn work(
        &self,
        work: Work,
        shutdown: &Shutdown,
        readiness: &Readiness,
    ) -> JoinHandle<()> {
        let parts = WorkerParts {
            store: self.store.clone(),
            broker: self.broker.clone(),
            liveness: self.liveness.clone(),
            progress: self.progress.clone(),
            flow: self.flow.clone(),
            queues: self.queues.clone(),
            jitter: Jitter::default(),
            handlers: work.handlers,
            isolation: work.isolation,
            shutdown_deadline: work.shutdown_deadline,
        };
        let worker = Worker::new(parts, &work.queues, shutdown.drain.clone());
        let queues = worker.registrations();
        readiness.check("broker", move || {
            let missing: usize = queues.iter().map(Registration::missing).sum();
            let all = queues.len() * Registration::all();
            (missing > 0).then(|| format!("{missing} of {all} consumers are not registered"))
        });
        tokio::spawn(worker.run(shutdown.cut.clone()))
    }

    /// What the API works with.
    pub(super) fn intake(
        &self,
        acceptance: &Acceptance,
        waiter: &Waiter,
        registry: Arc<Registry>,
        gate: Gate,
    ) -> Intake {
        Intake {
            store: self.store.clone(),
            broker: self.broker.clone(),
            pulse: Pulse::start(self.store.clone()),
            acceptance: acceptance.clone(),
            waiter: waiter.clone(),
            description: Description::of(&registry),
            registry,
            queues: self.queues.clone(),
            depths: Arc::default(),
            readers: Readers::default(),
            gate,
        }
    }

    /// Ends heartbeat and relay and signs off.
    pub(super) async fn leave(&self, upkeep: Vec<JoinHandle<()>>, stop: CancellationToken) {
        stop.cancel();
        for task in upkeep {
            // A loop that panicked has been reported; there is nothing left to end.
            let _ = task.await;
        }
        if let Err(error) = self.store.retire(self.liveness.me()).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "could not sign off; the others will notice"
            );
        }
        self.broker.close().await;
        self.store.close().await;
    }
}
