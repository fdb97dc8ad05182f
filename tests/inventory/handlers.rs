//! What a handler does around its transaction, and what becomes of its job and its rows.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::poll;
use longshore::job::{Done, Failure, JobId, JobResult, State};
use longshore::store::{Balance, Connection, Migration};
use longshore::worker::{Attempt, Job, NextJob, Registry, Transaction};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::site::{Place, Site};

const QUEUES: &str = r#"
[queues.effects]
kinds = ["test.effect", "test.next"]
concurrency = 8
timeout = "1s"
[queues.effects.retry]
max_attempts = 100
initial = "5ms"
max = "5ms"
jitter = 0.0
[queues.effects.breaker]
failures = 1000
cooldown = "1ms"
"#;

const EFFECTS: Migration = Migration {
    name: "effects",
    postgres: "CREATE TABLE longshore.effect (job uuid NOT NULL)",
    sqlite: "CREATE TABLE effect (job BLOB NOT NULL) STRICT",
};

/// How many rows each job has left.
const COUNT: Balance = Balance {
    name: "effects",
    postgres: "SELECT replace(job::text, '-', '') || ' ' || count(*) FROM longshore.effect GROUP BY job",
    sqlite: "SELECT lower(hex(job)) || ' ' || count(*) FROM effect GROUP BY job",
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
enum Way {
    Plain,
    /// Returns a permanent failure though its success is committed.
    FailsAfter,
    PanicsAfter,
    HangsAfter,
    /// The first run panics with the row written.
    PanicsBefore,
    HangsBefore,
    FailsBefore,
    RollsBack,
    /// The n-th run gives up its success after n steps, and fails.
    CutOff,
    /// Starts a next job.
    Next,
    NextIsInvalid,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Effect {
    way: Way,
}

/// How often each job ran.
type Runs = Arc<Mutex<HashMap<JobId, u32>>>;

async fn leave_a_row(tx: &mut Transaction, job: JobId) -> Result<(), Failure> {
    let done = match tx.connection() {
        Connection::Postgres(db) => sqlx::query("INSERT INTO longshore.effect VALUES ($1)")
            .bind(job.uuid())
            .execute(db)
            .await
            .map(|_| ()),
        Connection::Sqlite(db) => sqlx::query("INSERT INTO effect VALUES (?1)")
            .bind(job.uuid())
            .execute(db)
            .await
            .map(|_| ()),
        other => panic!("{other:?}"),
    };
    done.map_err(|error| tx.failure(error))
}

/// Lets a future take so many steps, and drops it where it then is.
async fn cut_off<T>(steps: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..steps {
        if let std::task::Poll::Ready(answer) = poll!(future.as_mut()) {
            return Some(answer);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    None
}

impl Job for Effect {
    const KIND: &'static str = "test.effect";
    type Context = Runs;

    async fn run(self, runs: &Runs, attempt: &Attempt) -> JobResult {
        let id = attempt.job_id();
        let run = {
            let mut runs = runs.lock().unwrap();
            let run = runs.entry(id).or_default();
            *run += 1;
            *run
        };
        let mut tx = attempt.transaction().await?;
        leave_a_row(&mut tx, id).await?;
        let first = run == 1;
        match self.way {
            Way::PanicsBefore if first => panic!("on purpose"),
            Way::HangsBefore if first => std::future::pending().await,
            Way::FailsBefore if first => return Err(Failure::retry("on_purpose", "x")),
            Way::RollsBack if first => {
                tx.roll_back().await;
                return Err(Failure::retry("on_purpose", "x"));
            }
            Way::CutOff => {
                let ended = cut_off(run, tx.succeed(json!({"run": run}))).await;
                return ended.unwrap_or_else(|| Err(Failure::retry("cut_off", "x")));
            }
            Way::Next => tx.submit(NextJob::new(&Next {})?.once("the only one"))?,
            Way::NextIsInvalid if first => tx.submit(NextJob::new(&Homeless {})?)?,
            _ => {}
        }
        let done = tx.succeed(json!({"run": run})).await?;
        match self.way {
            Way::FailsAfter => Err(Failure::permanent("too_late", "x")),
            Way::PanicsAfter => panic!("on purpose"),
            Way::HangsAfter => std::future::pending().await,
            _ => Ok(done),
        }
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Next {}

impl Job for Next {
    const KIND: &'static str = "test.next";
    type Context = ();

    async fn run(self, (): &(), attempt: &Attempt) -> JobResult {
        let mut tx = attempt.transaction().await?;
        leave_a_row(&mut tx, attempt.job_id()).await?;
        // No result at all.
        tx.succeed(()).await
    }
}

/// No queue takes it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Homeless {}

impl Job for Homeless {
    const KIND: &'static str = "test.homeless";
    type Context = ();

    async fn run(self, (): &(), _: &Attempt) -> JobResult {
        Ok(Done)
    }
}

async fn start(place: &Place) -> Site {
    let mut registry = Registry::default();
    let runs = Runs::default();
    registry
        .add::<Effect, _>("effects", move |_| Ok(Arc::new(runs.clone())))
        .unwrap();
    registry
        .add::<Next, _>("effects", |_| Ok(Arc::new(())))
        .unwrap();
    registry.add_migration(EFFECTS);
    Site::start(place, QUEUES, registry).await
}

/// Rows by job, from `COUNT`.
async fn rows(site: &Site) -> HashMap<String, u32> {
    let counted = site.store.differences(&COUNT).await.unwrap();
    let pair = |line: String| {
        let (id, count) = line.split_once(' ').unwrap();
        (id.to_owned(), count.parse().unwrap())
    };
    counted.into_iter().map(pair).collect()
}

fn hex(id: JobId) -> String {
    id.uuid().simple().to_string()
}

/// Each way with its end and the number of counted failures.
const WAYS: [(Way, State, usize); 9] = [
    (Way::Plain, State::Succeeded, 0),
    (Way::FailsAfter, State::Succeeded, 0),
    (Way::PanicsAfter, State::Succeeded, 0),
    (Way::HangsAfter, State::Succeeded, 0),
    (Way::PanicsBefore, State::Succeeded, 1),
    (Way::HangsBefore, State::Succeeded, 1),
    (Way::FailsBefore, State::Succeeded, 1),
    (Way::RollsBack, State::Succeeded, 1),
    (Way::NextIsInvalid, State::Dead, 1),
];

async fn a_row_and_a_success_are_one(place: Place) {
    let site = start(&place).await;
    let mut jobs = Vec::new();
    for (way, state, failures) in WAYS {
        let id = site.submit("effects", &Effect { way }).await;
        jobs.push((id, way, state, failures));
    }
    for (id, way, state, failures) in jobs {
        let job = site.ended(id).await;
        assert_eq!(job.state, state, "{way:?}: {job:?}");
        let failed = job
            .attempts
            .iter()
            .flatten()
            .filter(|a| a.outcome == "failed");
        assert_eq!(failed.count(), failures, "{way:?}: {job:?}");
        let found = rows(&site).await.get(&hex(id)).copied().unwrap_or(0);
        assert_eq!(found, u32::from(state == State::Succeeded), "{way:?}");
    }
    site.stop().await;
}

/// Wherever a handler is cut off in its success, the platform finds out whether it took.
async fn a_success_that_is_cut_off_is_whole_or_nothing(place: Place) {
    let site = start(&place).await;
    let mut jobs = Vec::new();
    for _ in 0..12 {
        jobs.push(site.submit("effects", &Effect { way: Way::CutOff }).await);
    }
    for id in jobs {
        let job = site.ended(id).await;
        assert_eq!(job.state, State::Succeeded, "{job:?}");
        assert_eq!(rows(&site).await.get(&hex(id)), Some(&1), "{job:?}");
    }
    site.stop().await;
}

async fn a_next_job_runs_once(place: Place) {
    let site = start(&place).await;
    let first = site.submit("effects", &Effect { way: Way::Next }).await;
    let second = site.submit("effects", &Effect { way: Way::Next }).await;
    for id in [first, second] {
        assert_eq!(site.ended(id).await.state, State::Succeeded);
    }
    let found = crate::support::wait::until(
        "the next job has run",
        crate::support::wait::PATIENCE,
        async || Some(rows(&site).await).filter(|rows| rows.len() == 3),
    )
    .await;
    assert!(found.values().all(|count| *count == 1), "{found:?}");
    let tally = site.store.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.succeeded), (3, 3), "{tally:?}");
    site.stop().await;
}

macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::Place::postgres().await).await;
            })*
        }
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::Place::sqlite()).await;
            })*
        }
    };
}
pub(crate) use on_both;

on_both!(
    a_row_and_a_success_are_one,
    a_success_that_is_cut_off_is_whole_or_nothing,
    a_next_job_runs_once,
);
