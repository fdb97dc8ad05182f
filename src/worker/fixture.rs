use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::executor::Executor;
use super::slots::Slot;
use super::{Handlers, Jitter, Worker, WorkerParts};
use crate::broker::embedded::EmbeddedBroker;
use crate::broker::{Delivery, Settlement, Verdict};
use crate::config::Queues;
use crate::job::{JobId, Message, Priority, Publication, QueueName};
use crate::liveness::{Flow, Liveness, Progress};
use crate::store::sqlite::SqliteStore;
use crate::store::{NewProcess, Role, Store};

const LEASE: Duration = Duration::from_secs(60);

/// A worker of the queue `email` that has no handlers, on a database of its own. Which queues
/// are paused has not been read: its gate is shut.
pub(super) struct Fixture {
    pub(super) store: Arc<dyn Store>,
    pub(super) worker: Worker,
    settlements: mpsc::UnboundedReceiver<Settlement>,
    channel: mpsc::UnboundedSender<Settlement>,
    _folder: TempDir,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("jobs.db")).await;
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        store.migrate().await.unwrap();
        let profile = NewProcess {
            role: Role::Worker,
            name: "host/1".to_owned(),
            version: "1.0.0".to_owned(),
            queues: Vec::new(),
        };
        let queues = [queue()];
        let parts = WorkerParts {
            store: store.clone(),
            broker: Arc::new(EmbeddedBroker::new(&queues)),
            liveness: Liveness::register(store.clone(), profile).await.unwrap(),
            progress: Arc::new(Progress::default()),
            flow: Arc::new(Flow::default()),
            queues: Arc::new(Queues::built_in()),
            jitter: Jitter::default(),
            handlers: Arc::new(Handlers::default()),
            shutdown_deadline: Duration::from_secs(1),
        };
        let (channel, settlements) = mpsc::unbounded_channel();
        Self {
            store,
            worker: Worker::new(parts, &queues, CancellationToken::new()),
            settlements,
            channel,
            _folder: folder,
        }
    }

    pub(super) fn executor(&self) -> Arc<Executor> {
        self.worker.pools[0].executor.clone()
    }

    pub(super) fn delivery(&self, message: Message) -> Delivery {
        Delivery::new(message, 1, self.channel.clone())
    }

    /// Has a message delivered and dealt with; returns how it was settled.
    pub(super) async fn execute(&mut self, message: Message) -> Verdict {
        let slots = Arc::new(Semaphore::new(1));
        let slot = Slot::next(&slots).await.unwrap();
        let delivery = self.delivery(message);
        let executor = self.executor();
        executor.execute(delivery, Priority::Normal, slot).await;
        self.verdict()
    }

    /// How the last delivery was settled.
    pub(super) fn verdict(&mut self) -> Verdict {
        self.settlements.try_recv().unwrap().verdict
    }

    /// What the outbox holds for others to publish.
    pub(super) async fn outbox(&self) -> Vec<(JobId, i32)> {
        let entries = self.store.lease_outbox(100, LEASE).await.unwrap();
        let publications = entries.into_iter().flat_map(|entry| entry.publications);
        publications.map(|p| (p.id, p.dispatch)).collect()
    }
}

pub(super) fn queue() -> QueueName {
    "email".parse().unwrap()
}

pub(super) fn publication(id: JobId, dispatch: i32) -> Publication {
    Publication {
        id,
        kind: "email.send".parse().unwrap(),
        queue: queue(),
        priority: Priority::Normal,
        dispatch,
        traceparent: None,
        payload: "{}".into(),
    }
}
