//! Databases of both kinds, and one process at work on them, inside the test.

use std::sync::Arc;
use std::time::Duration;

use longshore::broker::Broker;
use longshore::broker::embedded::EmbeddedBroker;
use longshore::config::{Queues, WorkerSettings};
use longshore::job::{Claimed, JobId, JobView, Kind, NewJob, ProcessId, QueueName, Transition};
use longshore::node::{Node, Plan, Shutdown, Work};
use longshore::store::postgres::PostgresStore;
use longshore::store::sqlite::SqliteStore;
use longshore::store::{
    Balance, Claim, ClaimRequest, Fence, Migration, NewProcess, Record, Role, Store,
};
use longshore::worker::{Job, Registry};
use tokio::net::TcpListener;

use crate::support::dir::TestDir;
use crate::support::shared::Database;

/// A database of a test's own.
pub enum Place {
    Postgres(Database),
    Sqlite(TestDir),
}

impl Place {
    pub async fn postgres() -> Self {
        Self::Postgres(Database::create().await)
    }

    pub fn sqlite() -> Self {
        Self::Sqlite(TestDir::new("inventory"))
    }

    /// A store with connections of its own, as another process has.
    pub async fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::Postgres(database) => {
                Arc::new(PostgresStore::connect(database.url()).await.unwrap())
            }
            Self::Sqlite(dir) => Arc::new(SqliteStore::open(&dir.join("jobs.db")).await.unwrap()),
        }
    }
}

/// A migrated store, with these tables, and a process on it.
pub struct Bench {
    pub store: Arc<dyn Store>,
    pub process: ProcessId,
}

impl Bench {
    pub async fn open(place: &Place, tables: &[Migration]) -> Self {
        let store = place.open().await;
        store.migrate().await.unwrap();
        store.extend(tables).await.unwrap();
        let process = NewProcess {
            role: Role::Worker,
            name: "host/1".to_owned(),
            version: "1.2.3".to_owned(),
            queues: Vec::new(),
        };
        let process = store.register(&process).await.unwrap();
        Self { store, process }
    }

    /// Accepts a job of this kind and claims it.
    pub async fn running(&self, kind: &str) -> Fence {
        let kind: Kind = kind.parse().unwrap();
        let job = NewJob::new(kind, "inventory".parse().unwrap(), "{}");
        let lease = Duration::from_secs(3600);
        self.store
            .insert(self.process, std::slice::from_ref(&job), lease)
            .await
            .unwrap();
        self.claimed(job.id).await
    }

    pub async fn claimed(&self, id: JobId) -> Fence {
        let request = ClaimRequest {
            id,
            dispatch: 1,
            over_epoch: None,
        };
        let claims = self.store.claim(self.process, &[request]).await.unwrap();
        let Claim::Won(Claimed { owner, epoch, .. }) = claims[0] else {
            panic!("not free: {claims:?}");
        };
        Fence { id, owner, epoch }
    }

    pub async fn record(&self, fence: Fence, transition: Transition) -> bool {
        let record = Record {
            id: fence.id,
            owner: fence.owner,
            epoch: fence.epoch,
            transition,
        };
        self.store.record(&[record]).await.unwrap()[0]
    }

    /// The answer to a question of one column of text.
    pub async fn ask(&self, postgres: &'static str, sqlite: &'static str) -> Vec<String> {
        let question = Balance {
            name: "question",
            postgres,
            sqlite,
        };
        self.store.differences(&question).await.unwrap()
    }
}

/// A whole process with an embedded broker.
pub struct Site {
    pub node: Node,
    pub store: Arc<dyn Store>,
    shutdown: Shutdown,
}

impl Site {
    pub async fn start(place: &Place, queues: &str, registry: Registry) -> Self {
        let queues = Arc::new(Queues::parse(queues, "the test's").unwrap());
        let names: Vec<QueueName> = queues.names().cloned().collect();
        let settings = WorkerSettings {
            smtp_url: None,
            mail_templates: None,
            mail_from: String::new(),
            stripe_api_key: None,
            stripe_api_base: None,
            data_dir: ".".into(),
            dev: true,
        };
        let handlers = registry.handlers(&queues, &names, &settings).unwrap();
        let broker: Arc<dyn Broker> = Arc::new(EmbeddedBroker::new(&names));
        let shutdown = Shutdown::default();
        let plan = Plan {
            role: Role::Dev,
            store: place.open().await,
            broker,
            queues,
            registry: Arc::new(registry),
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            intake: false,
            admin_key: None,
            work: Some(Work {
                queues: names,
                handlers: Arc::new(handlers),
                shutdown_deadline: Duration::from_secs(5),
            }),
            migrate: true,
        };
        let node = Node::start(plan, shutdown.clone()).await.unwrap();
        Self {
            node,
            store: place.open().await,
            shutdown,
        }
    }

    pub async fn submit<J: Job>(&self, queue: &str, job: &J) -> JobId {
        let payload = serde_json::to_string(job).unwrap();
        let job = NewJob::new(J::KIND.parse().unwrap(), queue.parse().unwrap(), payload);
        let id = job.id;
        self.node.acceptance.accept(job).await.unwrap();
        id
    }

    /// The job once it has come to an end.
    pub async fn ended(&self, id: JobId) -> JobView {
        let patience = Duration::from_secs(120);
        assert!(self.node.waiter.wait(id, patience).await, "{id} never ends");
        self.store.job(id).await.unwrap().unwrap()
    }

    pub async fn stop(self) {
        let tally = self.store.tally().await.unwrap();
        assert_eq!(tally.missing(), 0, "{tally:?}");
        self.store.close().await;
        self.shutdown.drain.cancel();
        self.node.finish().await.unwrap();
    }
}
