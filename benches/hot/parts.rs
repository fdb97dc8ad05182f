//! What every job passes through and no server has a part in: each one by itself, as often as one
//! likes. `cargo bench` times these parts, `tests/allocations.rs` and `tests/instructions.rs` count.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use futures::future::join_all;
use longshore::admin::{BatchForm, Submission, complete, read_batch};
use longshore::bench::{Meter, Noop};
use longshore::broker::embedded::EmbeddedBroker;
use longshore::broker::{Broker, Lane, Source};
use longshore::config::{Queues, WorkerSettings};
use longshore::job::{
    Done, Failure, JobId, JobView, Kind, Message, NewJob, Outcome, Priority, ProcessId,
    Publication, QueueName, RetryPolicy, Run, Standing, State, decide, decode, dispose,
    fingerprint, json,
};
use longshore::store::GroupCommit;
use longshore::worker::{Registry, Running};
use tokio::runtime::{Builder, Runtime};

/// Of a payload, in bytes.
const PAYLOAD: usize = 200;
/// Jobs that are handled together where the platform does so.
const TOGETHER: usize = 100;
/// Where the jobs wait.
const QUEUE: &str = "bench";

/// One part of the way of a job.
pub struct Part {
    /// Unique.
    pub name: &'static str,
    /// How many jobs pass through it in one round.
    pub jobs: usize,
    /// Takes them through.
    pub round: Box<dyn FnMut()>,
}

impl Part {
    fn of_one<T>(name: &'static str, mut pass: impl FnMut() -> T + 'static) -> Self {
        Self {
            name,
            jobs: 1,
            round: Box::new(move || drop(black_box(pass()))),
        }
    }

    fn of_many<T>(name: &'static str, pass: impl FnMut() -> T + 'static) -> Self {
        Self {
            jobs: TOGETHER,
            ..Self::of_one(name, pass)
        }
    }
}

/// All of them, in the order in which a job meets them.
pub fn all() -> Vec<Part> {
    let mut parts = Vec::new();
    parts.extend(door());
    parts.extend(group_commit());
    parts.extend(envelope());
    parts.extend(embedded());
    parts.extend(run());
    parts
}

fn queue() -> QueueName {
    QUEUE.parse().unwrap()
}

fn payload() -> String {
    serde_json::to_string(&Noop::of_size(PAYLOAD)).unwrap()
}

fn job() -> NewJob {
    NewJob::new("bench.noop".parse().unwrap(), queue(), payload())
}

fn registry() -> Arc<Registry> {
    let mut registry = Registry::default();
    let meter = Arc::new(Meter::default());
    let context = move |_: &WorkerSettings| Ok(meter.clone());
    registry.add::<Noop, _>(QUEUE, context).unwrap();
    Arc::new(registry)
}

/// From the bytes of a request to a job, and from its commit to the bytes of the answer.
fn door() -> Vec<Part> {
    let (registry, queues) = (registry(), Arc::new(Queues::built_in()));
    let body = format!(r#"{{"kind":"bench.noop","payload":{}}}"#, payload());
    let array = format!("[{}]", vec![body.as_str(); TOGETHER].join(","));
    let lines = vec![body.as_str(); TOGETHER].join("\n");
    let batch = |name, text: String, form| {
        let (registry, queues) = (registry.clone(), queues.clone());
        Part::of_many(name, move || {
            read_batch(text.as_bytes(), form, "key", &registry, &queues).unwrap()
        })
    };
    let batches = [
        batch("read a batch: array", array, BatchForm::Array),
        batch("read a batch: lines", lines, BatchForm::Lines),
    ];
    let (text, again) = (body.clone(), body.clone());
    let (kinds, known) = (registry, queues.clone());
    let (accepted, moment) = (
        job(),
        DateTime::from_timestamp_nanos(1_700_000_000_123_456_000),
    );
    let singles = [
        Part::of_one("read a submission", move || {
            Submission::read(body.as_bytes(), &kinds, &known).unwrap()
        }),
        Part::of_one("canonical JSON", move || {
            json::canonical(text.as_bytes()).unwrap()
        }),
        Part::of_one("fingerprint of a submission", move || {
            Submission::fingerprint(again.as_bytes())
        }),
        Part::of_one("answer to a submission", move || {
            let mut view = JobView::accepted(&accepted, moment, State::Queued).unwrap();
            complete(&mut view, &queues);
            serde_json::to_vec(&view).unwrap()
        }),
    ];
    singles.into_iter().chain(batches).collect()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// Callers that ask at once, for what costs nothing to write.
fn group_commit() -> Vec<Part> {
    let runtime = runtime();
    let commit = runtime.block_on(async {
        GroupCommit::spawn(500, |batch: Arc<[JobId]>| async move {
            // As a write that is waited for.
            tokio::task::yield_now().await;
            Ok(batch.to_vec())
        })
    });
    let id = JobId::new();
    vec![Part::of_many("group commit", move || {
        let callers = (0..TOGETHER).map(|_| commit.submit(id));
        runtime.block_on(join_all(callers))
    })]
}

/// Between a job and a message.
fn envelope() -> Vec<Part> {
    let (job, queue) = (job(), queue());
    let message = Message::from(&job.first_dispatch());
    vec![
        Part::of_one("make a message", move || {
            Message::from(&job.first_dispatch())
        }),
        Part::of_one("decode a delivery", move || {
            decode(&message, &queue, Priority::Normal)
        }),
    ]
}

/// Published, delivered, acknowledged.
fn embedded() -> Vec<Part> {
    let runtime = runtime();
    let broker = EmbeddedBroker::new(&[queue()]);
    let source = Source::new(queue(), Lane::Normal);
    let prefetch = u16::try_from(TOGETHER).unwrap();
    let mut consumer = runtime.block_on(async {
        broker.declare().await.unwrap();
        broker.consume(source, prefetch).await
    });
    let batch: Vec<Publication> = (0..TOGETHER).map(|_| job().first_dispatch()).collect();
    vec![Part::of_many("embedded broker", move || {
        runtime.block_on(async {
            let published = broker.publish(&batch).await;
            assert!(published.iter().all(Result::is_ok));
            for _ in 0..TOGETHER {
                consumer.next().await.unwrap().ack();
            }
        });
    })]
}

/// What a worker asks and decides.
fn run() -> Vec<Part> {
    let (id, me) = (JobId::new(), ProcessId(1));
    let standing = Standing {
        state: State::Running,
        dispatch: 1,
        epoch: 1,
        owner: Some(ProcessId(2)),
    };
    let running = Arc::new(Running::default());
    let retry = Failure::retry("smtp_451", "greylisted, try again later");
    let message = "550 5.1.1 <bob@example.org>: no such user, order 17";
    let mut parts = vec![
        Part::of_one("claim table", move || {
            dispose(black_box(Some(&standing)), 1, me)
        }),
        Part::of_one("table of what runs", move || {
            let presence = running.enter(id);
            running.won(id, me, 1);
            let stop = presence.stop(me, 1);
            presence.ended(me, 1);
            stop
        }),
        decision("decide: success", Outcome::Success(Done)),
        decision("decide: retry", Outcome::Failure(retry)),
        Part::of_one("fingerprint of a failure", move || {
            fingerprint("email.send", "smtp_550", black_box(message))
        }),
    ];
    parts.extend(routing());
    parts
}

fn decision(name: &'static str, outcome: Outcome) -> Part {
    let policy = RetryPolicy::default();
    let run = Run {
        attempt: 3,
        max_attempts: 8,
    };
    Part::of_one(name, move || {
        let cooldown = Duration::from_secs(10);
        decide(outcome.clone(), run, &policy, cooldown, black_box(0.5))
    })
}

fn routing() -> [Part; 2] {
    let queues = Queues::built_in();
    let (moved, kind): (Kind, Kind) = (
        "payment.refund".parse().unwrap(),
        "bench.noop".parse().unwrap(),
    );
    let settings = WorkerSettings {
        smtp_url: None,
        mail_from: "longshore@localhost".to_owned(),
        mail_templates: None,
        stripe_api_key: None,
        stripe_api_base: None,
        data_dir: ".".into(),
        dev: true,
    };
    let handlers = registry().handlers(&queues, &[queue()], &settings);
    let handlers = handlers.map_err(|_| "a handler").unwrap();
    [
        Part::of_one("queue of a kind", move || {
            queues.of_kind(black_box(&moved)).cloned()
        }),
        Part::of_one("handler of a kind", move || {
            handlers.get(black_box(&kind)).map(|_| ())
        }),
    ]
}
