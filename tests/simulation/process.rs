//! A process: the real runtime on the simulated store and broker, put together as a node does.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use longshore::admin::Acceptance;
use longshore::broker::Broker;
use longshore::config::{Queues, WorkerSettings};
use longshore::job::{NewJob, Priority, Start, UniqueKey};
use longshore::liveness::{Flow, Liveness, Progress};
use longshore::relay::{Dispatcher, Relay};
use longshore::store::{NewProcess, Role, Store};
use longshore::worker::{Jitter, Registry, Worker, WorkerParts};
use tokio_util::sync::CancellationToken;

use crate::broker::SimulatedBroker;
use crate::jobs::{self, Outside, Work};
use crate::plan::JobPlan;
use crate::store::SimulatedStore;
use crate::world::Port;

/// The timeout is longer than the longest silence that nobody is taken for dead for. Read once: parsing it for every process would cost more than the process.
pub(crate) static QUEUES: LazyLock<Arc<Queues>> = LazyLock::new(|| {
    let text = r#"
        [queues.sim]
        kinds = ["sim.work"]
        concurrency = 3
        prefetch = 3
        timeout = "13s"
        [queues.sim.retry]
        max_attempts = 4
        initial = "1s"
        multiplier = 2.0
        max = "3s"
        jitter = 0.5
        [queues.sim.breaker]
        failures = 5
        cooldown = "1s"
    "#;
    let mut queues = Queues::parse(text, "the simulation").unwrap();
    let name = queues.names().next().unwrap().clone();
    let mut queue = queues.get(name.as_str()).unwrap().clone();
    // Simulated jobs were made in 2026, whatever this machine's clock says: always young enough.
    queue.retention = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    queue.dead_retention = queue.retention;
    queues.insert(name, queue);
    Arc::new(queues)
});

/// How soon a client tries again, and a process whose store does not answer.
const AGAIN: Duration = Duration::from_millis(400);

/// Runs until `drain`, then ends in order.
pub(crate) async fn run(port: Port, jobs: Vec<(usize, JobPlan)>, drain: CancellationToken) {
    let store: Arc<dyn Store> = Arc::new(SimulatedStore::new(port.clone()));
    let names: Vec<_> = QUEUES.names().cloned().collect();
    let broker: Arc<dyn Broker> = Arc::new(SimulatedBroker::new(port.clone(), names.clone()));
    let liveness = loop {
        match Liveness::register(store.clone(), profile(&port)).await {
            Ok(liveness) => break liveness,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    };
    let (progress, flow) = (Arc::new(Progress::default()), Arc::new(Flow::default()));
    let dispatcher = Dispatcher::start(store.clone(), broker.clone(), liveness.clone());
    let stop = CancellationToken::new();
    let relay = Relay {
        store: store.clone(),
        broker: broker.clone(),
        liveness: liveness.clone(),
        progress: progress.clone(),
        flow: flow.clone(),
        queues: QUEUES.clone(),
        dispatcher: dispatcher.clone(),
    };
    let (heart, beating) = (liveness.clone(), stop.clone());
    let upkeep = [
        tokio::spawn(async move { heart.run(beating).await }),
        tokio::spawn(relay.run(stop.clone())),
    ];
    tokio::task::yield_now().await;
    let declaring = broker.clone();
    tokio::spawn(async move {
        while declaring.declare().await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
    });
    let worker = worker(&port, &store, &broker, &liveness, &progress, &flow, &drain);
    let working = tokio::spawn(worker.run(CancellationToken::new()));
    let acceptance = Acceptance::start(store.clone(), liveness.clone(), dispatcher, flow);
    for (n, plan) in jobs {
        tokio::spawn(submit(port.clone(), acceptance.clone(), n, plan));
    }
    drain.cancelled().await;
    let _ = working.await;
    stop.cancel();
    for task in upkeep {
        let _ = task.await;
    }
    let _ = store.retire(liveness.me()).await;
    broker.close().await;
    port.stop_if_dead().await;
    port.with(|state| state.hosts[port.host].drained = true);
}

fn profile(port: &Port) -> NewProcess {
    NewProcess {
        role: Role::Worker,
        name: format!("host-{}/{}", port.host, port.incarnation),
        version: "simulated".to_owned(),
        queues: Vec::new(),
    }
}

fn worker(
    port: &Port,
    store: &Arc<dyn Store>,
    broker: &Arc<dyn Broker>,
    liveness: &Arc<Liveness>,
    progress: &Arc<Progress>,
    flow: &Arc<Flow>,
    drain: &CancellationToken,
) -> Worker {
    let names: Vec<_> = QUEUES.names().cloned().collect();
    let outside = Arc::new(Outside(port.clone()));
    let mut registry = Registry::default();
    registry
        .add::<Work, _>("sim", move |_| Ok(outside.clone()))
        .unwrap();
    let settings = WorkerSettings {
        smtp_url: None,
        mail_from: String::new(),
        mail_templates: None,
        stripe_api_key: None,
        stripe_api_base: None,
        data_dir: std::path::PathBuf::new(),
        dev: false,
    };
    let random = port.clone();
    let parts = WorkerParts {
        isolation: None,
        store: store.clone(),
        broker: broker.clone(),
        liveness: liveness.clone(),
        progress: progress.clone(),
        flow: flow.clone(),
        queues: QUEUES.clone(),
        jitter: Jitter::new(move || random.with(|state| state.rng.fraction())),
        handlers: Arc::new(registry.handlers(&QUEUES, &names, &settings).unwrap()),
        shutdown_deadline: Duration::from_secs(3),
    };
    Worker::new(parts, &names, drain.clone())
}

/// A client that submits a job until it knows that it was accepted.
async fn submit(port: Port, acceptance: Acceptance, n: usize, plan: JobPlan) {
    tokio::time::sleep_until(port.instant(plan.at)).await;
    loop {
        let job = new_job(n, &plan);
        let accepted = match plan.whole_batch {
            true => acceptance.accept_all(&[job]).await.map(|_| ()),
            false => acceptance.accept(job).await.map(|_| ()),
        };
        if accepted.is_ok() {
            break;
        }
        tokio::time::sleep(AGAIN).await;
    }
    let answer = port.call("answer", false, |state| {
        let now = state.now;
        state.trace.note(now, || format!("job {n} is accepted"));
        state.ledger.jobs[n].accepted.get_or_insert(now);
    });
    answer.await;
}

fn new_job(n: usize, plan: &JobPlan) -> NewJob {
    let kind = jobs::KIND.parse().unwrap();
    let queue = "sim".parse().unwrap();
    NewJob {
        id: plan.id,
        priority: match plan.high {
            true => Priority::High,
            false => Priority::Normal,
        },
        start: match plan.delay {
            Some(delay) => Start::After(Duration::from_micros(delay)),
            None => Start::Now,
        },
        unique: Some(UniqueKey {
            scope: "client".to_owned(),
            key: n.to_string(),
            fingerprint: vec![1],
        }),
        ..NewJob::new(kind, queue, format!("{{\"n\":{n}}}"))
    }
}
