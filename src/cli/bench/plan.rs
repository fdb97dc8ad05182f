use std::path::PathBuf;
use std::sync::Arc;

use rand::RngExt;
use url::Url;

use super::{Args, PACED_FOR};
use crate::bench::{Measure, Meter, Noop, Report, Subject, kind, queue};
use crate::broker::Broker;
use crate::broker::amqp::AmqpBroker;
use crate::cli::{CliError, Context};
use crate::config::{BrokerUrl, DatabaseUrl, Need, QueueConfig, Queues, Secret, Settings};
use crate::job::{Kind, MAX_PAYLOAD, NameError, QueueName};
use crate::store::postgres::PostgresStore;
use crate::store::{Schema, Store};
use crate::worker::{Job, Registry};

/// Handlers of `bench.noop` at once, in all queues: so many that none waits for a slot, as their
/// ends are written in batches. Twice as many are prefetched.
const CONCURRENCY: u32 = 1_000;
/// The least of each of several queues.
const LEAST: u32 = 64;
/// Jobs of one batch.
const BATCH: u64 = 500;
const PAYLOAD: usize = 200;

/// What a bench was told to do, and what it needs for that.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) measure: Measure,
    /// Of an embedded bench.
    pub(super) folder: Option<PathBuf>,
}

/// The numbers of the arguments.
struct Numbers {
    jobs: u64,
    payload: Option<usize>,
    rate: f64,
    runs: usize,
    workers: usize,
    queues: usize,
}

impl Plan {
    /// With all that is wrong with arguments, settings and queue file.
    pub(super) async fn make(context: &Context, args: &Args) -> Result<Self, CliError> {
        let served = is_served(context);
        let need = if served { Need::Intake } else { Need::Dev };
        let mut wrong = Vec::new();
        let numbers = numbers(args, &mut wrong);
        if !served && numbers.workers > 1 {
            wrong.push(
                "--workers: embedded, one process does everything; set DATABASE_URL and AMQP_URL"
                    .to_owned(),
            );
        }
        if numbers.queues > 1 && args.kind != Noop::KIND {
            wrong.push(format!(
                "--queues: only {} is of several queues",
                Noop::KIND
            ));
        }
        let payload = payload(&context.registry, args, &mut wrong);
        let usage = (!wrong.is_empty()).then(|| CliError::wrong(&wrong));
        let (settings, _) = match (context.configured(need), usage) {
            (Ok(configured), None) => configured,
            (Ok(_), Some(error)) | (Err(error), None) => return Err(error),
            (Err(settings), Some(usage)) => return Err(usage.and(settings)),
        };
        let mut registry = Registry::default();
        let names = queue_names(numbers.queues)?;
        let meter = Meter::default();
        prepare(context.queues()?, &mut registry, &meter, &args.kind, &names)?;
        let key = key();
        let mut environment = context.settings.environment();
        environment.extend([
            ("LONGSHORE_ADMIN_KEY", key.clone()),
            ("LONGSHORE_LISTEN", "127.0.0.1:0".to_owned()),
            ("LONGSHORE_HEALTH_LISTEN", "127.0.0.1:0".to_owned()),
        ]);
        if context.settings.log.is_none() {
            environment.push(("LONGSHORE_LOG", "warn".to_owned()));
        }
        let folder = (!served).then(|| {
            let folder = format!("bench-{}", std::process::id());
            settings.data_dir.join(folder)
        });
        if let Some(folder) = &folder {
            environment.push(("DATABASE_URL", String::new()));
            environment.push(("LONGSHORE_DATA_DIR", folder.display().to_string()));
        }
        let subject = match served {
            true => Some(subject(&settings, names).await?),
            false => None,
        };
        let size = payload.as_ref().map(String::len);
        let measure = Measure {
            subject,
            arguments: vec![
                format!("--kind={}", args.kind),
                format!("--queues={}", numbers.queues),
            ],
            environment,
            key,
            kind: args.kind.clone(),
            size: size.or(numbers.payload).unwrap_or(PAYLOAD),
            payload,
            jobs: numbers.jobs.div_ceil(BATCH) * BATCH,
            rate: numbers.rate,
            paced_for: PACED_FOR,
            workers: numbers.workers,
            queues: numbers.queues,
            runs: numbers.runs,
        };
        Ok(Self {
            settings,
            measure,
            folder,
        })
    }

    /// The report's head.
    pub(super) async fn report(&self) -> Result<Report, CliError> {
        let (store, broker) = match &self.measure.subject {
            Some(subject) => (
                subject.store.version().await?,
                subject.broker.version().await.map_err(CliError::failed)?,
            ),
            None => ("SQLite".to_owned(), "embedded".to_owned()),
        };
        Ok(Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            debug_build: cfg!(debug_assertions),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            store,
            broker,
            kind: self.measure.kind.clone(),
            payload: self.measure.size,
            workers: self.measure.workers,
            queues: self.measure.queues,
            ..Report::default()
        })
    }
}

/// Whether there are servers; otherwise the bench is embedded, as `dev` would be.
fn is_served(context: &Context) -> bool {
    let given = |secret: &Option<Secret>| {
        let text = secret.as_ref().map(|secret| secret.expose().trim());
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let database = given(&context.settings.database_url);
    given(&context.settings.amqp_url).is_some()
        || database.is_some_and(|url| !url.starts_with("sqlite:"))
}

fn numbers(args: &Args, wrong: &mut Vec<String>) -> Numbers {
    let mut whole = |flag: &str, text: &str, least: u64, most: u64| match text.parse::<u64>() {
        Ok(number) if (least..=most).contains(&number) => number,
        _ => {
            wrong.push(format!(
                "{flag}: `{text}` is no whole number from {least} to {most}"
            ));
            least
        }
    };
    let jobs = whole("--jobs", &args.jobs, 1, 10_000_000);
    let most = MAX_PAYLOAD as u64;
    let size = args.payload.as_ref();
    let payload = size.map(|text| whole("--payload", text, 10, most));
    let rate = whole("--rate", &args.rate, 1, 100_000);
    let mut few = |flag: &str, text: &str, most: u64| {
        usize::try_from(whole(flag, text, 1, most)).unwrap_or(1)
    };
    let (runs, workers, queues) = (
        few("--runs", &args.runs, 1_000),
        few("--workers", &args.workers, 64),
        few("--queues", &args.queues, 50),
    );
    if jobs.saturating_mul(payload.unwrap_or_default()) > 20_000_000_000 {
        wrong.push("--jobs, --payload: more than 20 GB of payloads".to_owned());
    }
    Numbers {
        jobs,
        payload: payload.and_then(|bytes| usize::try_from(bytes).ok()),
        rate: rate as f64,
        runs,
        workers,
        queues,
    }
}

/// The payload of a kind other than the bench's own.
fn payload(registry: &Registry, args: &Args, wrong: &mut Vec<String>) -> Option<String> {
    if args.kind == Noop::KIND {
        return None;
    }
    if args.payload.is_some() {
        wrong.push(format!(
            "--payload: only {} has payloads of any size",
            Noop::KIND
        ));
    }
    let Some(entry) = registry.get(&args.kind) else {
        let known: Vec<&str> = registry.iter().map(|(kind, _)| kind.as_str()).collect();
        let known = known.join(", ");
        wrong.push(format!(
            "--kind: no kind `{}`: there are {}, {known}",
            args.kind,
            Noop::KIND
        ));
        return None;
    };
    let example = entry.example();
    if example.is_none() {
        wrong.push(format!("--kind: {} has no example to run", args.kind));
    }
    example.map(|example| example.to_string())
}

/// The names of the bench's queues.
pub(super) fn queue_names(count: usize) -> Result<Vec<QueueName>, CliError> {
    let name = |number| queue(number).parse().map_err(|error| no_name(&error));
    (0..count).map(name).collect()
}

fn no_name(error: &NameError) -> CliError {
    CliError::usage(error.to_string())
}

/// Adds the bench's kinds and queues. A kind that is measured moves into the first of them, with
/// the settings of its own.
pub(super) fn prepare(
    mut queues: Queues,
    registry: &mut Registry,
    meter: &Meter,
    measured: &str,
    names: &[QueueName],
) -> Result<Queues, CliError> {
    for (number, name) in names.iter().enumerate() {
        if queues.get(name.as_str()).is_some() {
            let text = format!("queues.toml has a queue `{name}`, which is the bench's: rename it");
            return Err(CliError::usage(text));
        }
        let context = Arc::new(meter.clone());
        let own = kind(Noop::KIND, number);
        let added = registry.add_as::<Noop, _>(&own, name.as_str(), move |_| Ok(context.clone()));
        added.map_err(|error| no_name(&error))?;
        let kind: Kind = kind(measured, number)
            .parse()
            .map_err(|error| no_name(&error))?;
        let share = u32::try_from(names.len()).map_or(1, |count| CONCURRENCY / count.max(1));
        let bench = measured_queue(&mut queues, kind, share.max(LEAST));
        queues.insert(name.clone(), bench);
    }
    Ok(queues)
}

/// Settings of the bench's queue for a kind, which leaves the queue that it was in.
fn measured_queue(queues: &mut Queues, kind: Kind, concurrency: u32) -> QueueConfig {
    match queues.of_kind(&kind).cloned() {
        None => QueueConfig {
            concurrency,
            prefetch: u16::try_from(concurrency * 2).unwrap_or(u16::MAX),
            ..QueueConfig::new(vec![kind])
        },
        Some(home) => {
            let mut queue = queues
                .get(home.as_str())
                .cloned()
                .unwrap_or_else(|| QueueConfig::new(Vec::new()));
            let rest = queue.kinds.iter().filter(|other| **other != kind).cloned();
            let kept = QueueConfig {
                kinds: rest.collect(),
                ..queue.clone()
            };
            queues.insert(home, kept);
            queue.kinds = vec![kind];
            queue
        }
    }
}

async fn subject(settings: &Settings, queues: Vec<QueueName>) -> Result<Subject, CliError> {
    let database = settings.database().map_err(|error| vec![error])?;
    let DatabaseUrl::Postgres(database) = database else {
        return Err(CliError::usage(
            "DATABASE_URL: RabbitMQ's jobs are measured on PostgreSQL; unset AMQP_URL to measure embedded",
        ));
    };
    let BrokerUrl::Amqp(urls) = settings.broker().map_err(|error| vec![error])? else {
        return Err(CliError::usage(
            "AMQP_URL: PostgreSQL's jobs are measured on RabbitMQ: set it",
        ));
    };
    let urls: Vec<String> = urls.iter().map(|url| url.expose().to_owned()).collect();
    let broker = AmqpBroker::connect(&urls, &queues);
    let broker = broker.map_err(|error| CliError::usage(error.to_string()))?;
    let store = PostgresStore::connect(database.expose()).await?;
    match store.schema().await? {
        Schema::Current => {}
        schema => return Err(CliError::usage(schema.advice())),
    }
    let at_work = store.processes().await?;
    if at_work
        .iter()
        .any(|process| process.queues.iter().any(|name| *name == queue(0)))
    {
        return Err(CliError::message(
            "another bench is at work on this database",
        ));
    }
    Ok(Subject {
        queues,
        store: Arc::new(store),
        broker: Arc::new(broker),
        store_at: place(database.expose(), 5432),
        broker_at: urls.first().and_then(|url| place(url, 5672)),
    })
}

fn place(url: &str, port: u16) -> Option<(String, u16)> {
    let url = Url::parse(url).ok()?;
    Some((url.host_str()?.to_owned(), url.port().unwrap_or(port)))
}

/// An API key for this bench alone.
fn key() -> String {
    let mut random = rand::rng();
    format!(
        "{:032x}{:032x}",
        random.random::<u128>(),
        random.random::<u128>()
    )
}
