use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::depths::Depths;
use crate::broker::{Broker, Lane, QueueStatus, Source};
use crate::config::{Queues, closest};
use crate::job::{JobError, Kind, QueueName, State};
use crate::store::{Depth, Pause, ProcessRow, Reported, Store, StoreError, StoreResult};

/// How long the broker may take to tell what its queues hold.
const BROKER: Duration = Duration::from_secs(1);
/// The states of a depth: whatever has not come to a good end.
const WAITING: [State; 5] = [
    State::Scheduled,
    State::Queued,
    State::Running,
    State::Retrying,
    State::Dead,
];

/// A queue as people and programs see it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct QueueView {
    /// Its name in `queues.toml`.
    pub name: String,
    /// The kinds whose jobs wait in it, as far as they are known here.
    pub kinds: Vec<Kind>,
    /// How many jobs it holds in each state; those that succeeded or were cancelled have left.
    pub depth: BTreeMap<State, u64>,
    /// For how many seconds the oldest `queued` job has waited since it was sent to the broker;
    /// `null` when none waits.
    pub oldest_ready_age: Option<f64>,
    /// Of late, in all live processes together.
    pub rates: Rates,
    /// The live processes that consume it.
    pub workers: Vec<QueueWorker>,
    /// Since when its jobs are not started, and by whom that was asked; `null` when they are.
    pub paused: Option<Pause>,
    /// `closed` when jobs flow in all of its workers; `open` while one of them leaves alone what
    /// its jobs need, because it is down; `half_open` while one job looks whether it is back.
    pub breaker: String,
    /// What the last job said that found it down; `null` when `breaker` is `closed`.
    pub breaker_error: Option<JobError>,
    /// What RabbitMQ holds; `null` when it does not answer or is not asked.
    pub broker: Option<Lanes>,
}

/// Jobs a second, over the last 30 s.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
pub struct Rates {
    /// Accepted by the HTTP API.
    pub accepted: f64,
    /// Brought to an end by workers.
    pub finished: f64,
}

/// A process that consumes a queue.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct QueueWorker {
    /// Its number.
    pub id: i64,
    /// `host/pid`.
    pub name: String,
    /// How many jobs of this queue it runs at once.
    pub capacity: u32,
    /// Its breaker for this queue: `closed`, `open` or `half_open`.
    pub breaker: String,
    /// What the last job said there that found its dependency down.
    pub breaker_error: Option<JobError>,
}

/// The broker's queues behind a queue.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Lanes {
    /// `longshore.<queue>`.
    pub normal: QueueStatus,
    /// `longshore.<queue>.high`.
    pub high: QueueStatus,
    /// `longshore.<queue>.dead`.
    pub dead: QueueStatus,
}

/// Why a queue was neither paused nor resumed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody knows such a queue.
    #[error("no queue `{name}`; {hint}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        hint: String,
    },
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Every queue: those of the queue file, and those that hold jobs, are worked, or are paused.
/// The broker is asked only if it is given.
///
/// # Errors
/// The store's.
pub async fn queues(
    store: &dyn Store,
    broker: Option<&dyn Broker>,
    queues: &Queues,
    depths: &Depths,
) -> StoreResult<Vec<QueueView>> {
    let (depths, reports) = (depths.read(store).await?, store.reports().await?);
    let (processes, pauses) = (store.processes().await?, store.paused().await?);
    let mut views: BTreeMap<String, QueueView> = BTreeMap::new();
    for name in all_names(queues, &processes, &reports, &pauses, &depths) {
        views.insert(name.clone(), empty(name, queues));
    }
    for depth in depths {
        if let Some(view) = views.get_mut(&depth.counts.queue) {
            fill(view, &depth);
        }
    }
    for reported in &reports {
        if let Some(view) = views.get_mut(reported.report.queue.as_str()) {
            add(view, reported, &processes);
        }
    }
    for pause in pauses {
        if let Some(view) = views.get_mut(&pause.queue) {
            view.paused = Some(pause);
        }
    }
    let mut views: Vec<QueueView> = views.into_values().collect();
    if let Some(broker) = broker {
        ask(broker, &mut views).await;
    }
    Ok(views)
}

fn all_names(
    queues: &Queues,
    processes: &[ProcessRow],
    reports: &[Reported],
    pauses: &[Pause],
    depths: &[Depth],
) -> BTreeSet<String> {
    let configured = queues.names().map(ToString::to_string);
    let worked = processes.iter().flat_map(|process| process.queues.clone());
    let reported = reports.iter().map(|told| told.report.queue.to_string());
    let paused = pauses.iter().map(|pause| pause.queue.clone());
    let holding = depths.iter().map(|depth| depth.counts.queue.clone());
    configured
        .chain(worked)
        .chain(reported)
        .chain(paused)
        .chain(holding)
        .collect()
}

fn empty(name: String, queues: &Queues) -> QueueView {
    let kinds = queues.get(&name).map(|queue| queue.kinds.clone());
    QueueView {
        name,
        kinds: kinds.unwrap_or_default(),
        depth: WAITING.into_iter().map(|state| (state, 0)).collect(),
        oldest_ready_age: None,
        rates: Rates::default(),
        workers: Vec::new(),
        paused: None,
        breaker: "closed".to_owned(),
        breaker_error: None,
        broker: None,
    }
}

fn fill(view: &mut QueueView, depth: &Depth) {
    view.depth.extend(&depth.counts.states);
    let seconds = |age: Duration| (age.as_secs_f64() * 1000.0).round() / 1000.0;
    view.oldest_ready_age = depth.oldest_ready.map(seconds);
}

fn add(view: &mut QueueView, reported: &Reported, processes: &[ProcessRow]) {
    let report = &reported.report;
    view.rates.accepted += report.accepted;
    view.rates.finished += report.finished;
    for kind in &report.kinds {
        if !view.kinds.contains(kind) {
            view.kinds.push(kind.clone());
        }
    }
    let process = processes
        .iter()
        .find(|process| process.id == reported.process);
    if let Some(process) = process.filter(|_| report.capacity > 0) {
        if severity(&report.breaker) > severity(&view.breaker) {
            view.breaker.clone_from(&report.breaker);
            view.breaker_error.clone_from(&report.breaker_error);
        }
        view.workers.push(QueueWorker {
            id: process.id.0,
            name: process.name.clone(),
            capacity: report.capacity,
            breaker: report.breaker.clone(),
            breaker_error: report.breaker_error.clone(),
        });
    }
}

/// Of two workers the worse one is told.
fn severity(breaker: &str) -> u8 {
    match breaker {
        "closed" => 0,
        "half_open" => 1,
        _ => 2,
    }
}

/// As far as the broker answers within [`BROKER`].
async fn ask(broker: &dyn Broker, views: &mut [QueueView]) {
    let asking = async {
        for view in views {
            let Ok(name) = view.name.parse::<QueueName>() else {
                continue;
            };
            let lane = |lane| {
                let source = Source::new(name.clone(), lane);
                async move { broker.status(&source).await }
            };
            let (normal, high, dead) =
                tokio::join!(lane(Lane::Normal), lane(Lane::High), lane(Lane::Dead));
            if let (Ok(normal), Ok(high), Ok(dead)) = (normal, high, dead) {
                view.broker = Some(Lanes { normal, high, dead });
            }
        }
    };
    // What was answered by then is kept.
    let _ = tokio::time::timeout(BROKER, asking).await;
}

/// Pauses queues: no process starts their jobs any more, within about two seconds and until they
/// are resumed, whatever restarts; what runs is finished. Pausing twice is pausing once.
///
/// # Errors
/// `Unknown` for a name that [`queues`] does not list; then none is paused. The store's.
pub async fn pause(
    store: &dyn Store,
    queues: &Queues,
    depths: &Depths,
    names: &[String],
    by: &str,
) -> Result<Vec<QueueName>, ControlError> {
    let found = known(store, queues, depths, names).await?;
    for queue in &found {
        store.pause(queue, by).await?;
    }
    Ok(found)
}

/// Ends pauses, where there are any.
///
/// # Errors
/// As [`pause`].
pub async fn resume(
    store: &dyn Store,
    queues: &Queues,
    depths: &Depths,
    names: &[String],
    by: &str,
) -> Result<Vec<QueueName>, ControlError> {
    let found = known(store, queues, depths, names).await?;
    for queue in &found {
        store.resume(queue, by).await?;
    }
    Ok(found)
}

async fn known(
    store: &dyn Store,
    queues: &Queues,
    depths: &Depths,
    wanted: &[String],
) -> Result<Vec<QueueName>, ControlError> {
    let mut names: BTreeSet<String> = queues.names().map(ToString::to_string).collect();
    // The queue file alone mostly tells, without a question to the store.
    if !wanted.iter().all(|name| names.contains(name)) {
        let (processes, reports) = (store.processes().await?, store.reports().await?);
        let (pauses, depths) = (store.paused().await?, depths.read(store).await?);
        names = all_names(queues, &processes, &reports, &pauses, &depths);
    }
    let find = |name: &String| {
        let found = names.get(name).and_then(|name| name.parse().ok());
        found.ok_or_else(|| unknown(name, &names))
    };
    wanted.iter().map(find).collect()
}

fn unknown(name: &str, names: &BTreeSet<String>) -> ControlError {
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    ControlError::Unknown {
        name: name.chars().take(128).collect(),
        hint: match closest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.join(", ")),
        },
    }
}
