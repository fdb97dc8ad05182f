//! One running process: wires store, broker, heartbeat, relay, worker and intake together,
//! starts them in order and stops them in the opposite one.

mod front;
mod ground;
mod startup;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::{Acceptance, Waiter};
use crate::broker::{Broker, BrokerError};
use crate::config::{Queues, Secret};
use crate::intake::{self, Gate, GateError, Scrape, ServeError, Source};
use crate::job::{JobId, JobView, Kind, QueueName};
use crate::liveness::{Flow, Progress};
use crate::relay::Dispatcher;
use crate::store::{JobFilter, NewProcess, Page, Role, Store, StoreError};
use crate::worker::{Handlers, Isolation, Registry};
use front::{always, front};
use ground::Ground;

/// How long signing off may take when database or broker do not answer.
const FAREWELL: Duration = Duration::from_secs(10);

/// What a process is to be.
#[derive(Debug)]
pub struct Plan {
    /// For the register of processes.
    pub role: Role,
    /// Where jobs are recorded.
    pub store: Arc<dyn Store>,
    /// What moves them.
    pub broker: Arc<dyn Broker>,
    /// The queues there are.
    pub queues: Arc<Queues>,
    /// The kinds there are.
    pub registry: Arc<Registry>,
    /// Where HTTP is answered: API and health, or health alone.
    pub listener: TcpListener,
    /// Answers the API too.
    pub intake: bool,
    /// A key with every scope, for the API.
    pub admin_key: Option<Secret>,
    /// Works queues too.
    pub work: Option<Work>,
    /// Migrates an old or empty database instead of refusing it.
    pub migrate: bool,
}

/// What a process works.
#[derive(Debug)]
pub struct Work {
    /// Its queues.
    pub queues: Vec<QueueName>,
    /// What runs their kinds.
    pub handlers: Arc<Handlers>,
    /// Where jobs run that have taken their process down twice; without it they run as all do.
    pub isolation: Option<Isolation>,
    /// How long it may finish its work once it drains.
    pub shutdown_deadline: Duration,
}

/// Why a process could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The database's schema is not this program's.
    #[error("{0}")]
    Schema(String),
    /// The store failed in a way that waiting does not mend.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker's objects are not what the configuration asks for.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Nobody could be told apart at that address.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The address cannot be had.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// It was told to stop before it had started.
    #[error("stopped before the start was complete")]
    Stopped,
}

/// Two requests to stop: the first drains, the second cuts the deadline short.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Stop taking, finish what runs.
    pub drain: CancellationToken,
    /// Hand back what runs, now.
    pub cut: CancellationToken,
}

/// A process at work.
#[derive(Debug)]
pub struct Node {
    /// Where HTTP is answered.
    pub address: SocketAddr,
    /// Accepts jobs.
    pub acceptance: Acceptance,
    /// Waits for their ends.
    pub waiter: Waiter,
    gate: Option<Gate>,
    ground: Ground,
    shutdown: Shutdown,
    server: JoinHandle<()>,
    worker: Option<JoinHandle<()>>,
    /// Heartbeat and relay: they run until the worker has drained.
    upkeep: Vec<JoinHandle<()>>,
    upkeep_stop: CancellationToken,
    fatal: mpsc::Receiver<BrokerError>,
}

impl Node {
    /// Starts everything. Waits, not ready meanwhile, for a store that does not answer; a
    /// broker that does not answer is waited for in the background.
    ///
    /// # Errors
    /// When the schema is wrong, or the process is stopped while it waits.
    pub async fn start(plan: Plan, shutdown: Shutdown) -> Result<Self, NodeError> {
        let address = plan.listener.local_addr().map_err(|source| ServeError {
            address: ([0, 0, 0, 0], 0).into(),
            source,
        })?;
        let scrape = Scrape::default();
        let readiness = scrape.readiness.clone();
        readiness.check("store", || {
            Some("the database does not answer yet".to_owned())
        });
        let api: Arc<OnceLock<Router>> = Arc::new(OnceLock::new());
        if plan.intake {
            let answering = api.clone();
            readiness.check("api", move || {
                let starting = answering.get().is_none();
                starting.then(|| "the intake is starting".to_owned())
            });
        }
        let always = always(scrape.clone());
        let routes = front(always.clone(), plan.intake.then(|| api.clone()));
        let serving = intake::serve(plan.listener, routes, always, shutdown.drain.clone());
        let server = tokio::spawn(serving);

        let stop = &shutdown.drain;
        let tables = plan.registry.migrations();
        startup::wait_for_schema(&*plan.store, tables, plan.migrate, stop).await?;
        let gate = match plan.intake {
            true => Some(startup::open_gate(&plan.store, plan.admin_key, address, stop).await?),
            false => None,
        };
        startup::announce(&*plan.store, &plan.registry, &plan.queues, stop).await?;
        let names = plan.work.as_ref().map(|work| work.queues.clone());
        let profile = NewProcess::this(plan.role, names.unwrap_or_default());
        let liveness = startup::register(plan.store.clone(), profile, stop).await?;
        let beating = liveness.clone();
        readiness.check("store", move || {
            (!beating.fresh()).then(|| "the database does not answer".to_owned())
        });

        let ground = Ground {
            store: plan.store,
            broker: plan.broker,
            queues: plan.queues,
            liveness,
            progress: Arc::new(Progress::default()),
            flow: Arc::new(Flow::new(scrape.metrics)),
        };
        let dispatcher = Dispatcher::start(
            ground.store.clone(),
            ground.broker.clone(),
            ground.liveness.clone(),
        );
        let upkeep_stop = CancellationToken::new();
        // The relay listens for queues created anew before anything is declared.
        let upkeep = ground.keep_up(dispatcher.clone(), &upkeep_stop);
        tokio::task::yield_now().await;
        let (report, fatal) = mpsc::channel(1);
        let declaring = startup::declare(ground.broker.clone(), report, stop.clone());
        tokio::spawn(declaring);
        let worker = plan
            .work
            .map(|work| ground.work(work, &shutdown, &readiness));
        let acceptance = Acceptance::start(
            ground.store.clone(),
            ground.liveness.clone(),
            dispatcher,
            ground.flow.clone(),
        );
        let waiter = Waiter::start(ground.store.clone());
        if let Some(gate) = gate.clone() {
            let intake = ground.intake(&acceptance, &waiter, plan.registry, gate);
            // Set once, here: nobody else has the cells.
            let _ = scrape.source.set(Source {
                store: intake.store.clone(),
                depths: intake.depths.clone(),
                pulse: intake.pulse.clone(),
            });
            let _ = api.set(intake::finish(intake::api_routes(intake)));
        }
        Ok(Self {
            address,
            gate,
            acceptance,
            waiter,
            ground,
            shutdown,
            server,
            worker,
            upkeep,
            upkeep_stop,
            fatal,
        })
    }

    /// A job with its attempts.
    ///
    /// # Errors
    /// Those of [`Store::job`].
    pub async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError> {
        self.ground.store.job(id).await
    }

    /// The newest job of a kind with a tag.
    ///
    /// # Errors
    /// Those of [`Store::list`].
    pub async fn tagged(&self, kind: &Kind, tag: &str) -> Result<Option<JobView>, StoreError> {
        let filter = JobFilter {
            kinds: vec![kind.clone()],
            tags: vec![tag.to_owned()],
            ..JobFilter::default()
        };
        let page = Page {
            limit: 1,
            before: None,
        };
        Ok(self.ground.store.list(&filter, page).await?.pop())
    }

    /// Every job that comes to its end in this process from now on, for whoever measures.
    #[must_use]
    pub fn ends(&self) -> mpsc::UnboundedReceiver<JobId> {
        self.ground.flow.ends()
    }

    /// Whether the API lets everybody on this machine call, for want of keys.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.gate.as_ref().is_some_and(Gate::is_open)
    }

    /// The queue where jobs of this kind wait.
    #[must_use]
    pub fn queue_of(&self, kind: &Kind) -> Option<QueueName> {
        self.ground.queues.of_kind(kind).cloned()
    }

    /// Runs until told to stop, then drains: takes nothing more, finishes what runs within the
    /// deadline, hands back the rest, and leaves the register of processes.
    ///
    /// # Errors
    /// When the broker's objects turn out not to be what the configuration asks for.
    pub async fn finish(mut self) -> Result<(), NodeError> {
        self.shutdown.drain.cancelled().await;
        let fault = self.fatal.try_recv().ok();
        if let Some(worker) = self.worker {
            let _ = worker.await;
        }
        let _ = self.server.await;
        // Last, so that jobs handed back are published and nobody takes us for dead meanwhile.
        if tokio::time::timeout(FAREWELL, self.ground.leave(self.upkeep, self.upkeep_stop))
            .await
            .is_err()
        {
            tracing::warn!(
                "the database or broker did not answer at the end; the others will notice"
            );
        }
        fault.map_or(Ok(()), |error| Err(error.into()))
    }
}
