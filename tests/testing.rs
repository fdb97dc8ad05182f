//! `longshore::testing`, as people use it for their own jobs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use longshore::App;
use longshore::job::{Done, ErrorClass, Failure, JobResult, Outcome, State};
use longshore::store::{Balance, Connection, Migration};
use longshore::testing::{Harness, RunOnce, TestingError};
use longshore::worker::{Attempt, Invalid, Job, NextJob};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

const MINUTE: Duration = Duration::from_secs(60);

/// Writes a line, starts a `Note`, and behaves as it is told.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Post {
    way: String,
}

type Runs = Arc<AtomicU32>;

impl Job for Post {
    const KIND: &'static str = "line.post";
    type Context = Runs;

    fn validate(&self) -> Result<(), Vec<Invalid>> {
        match self.way.is_empty() {
            true => Err(vec![Invalid::new("/way", "empty")]),
            false => Ok(()),
        }
    }

    async fn run(self, runs: &Runs, attempt: &Attempt) -> JobResult {
        runs.fetch_add(1, Ordering::SeqCst);
        let mut tx = attempt.transaction().await?;
        if let Connection::Sqlite(db) = tx.connection() {
            let line = sqlx::query("INSERT INTO line (way) VALUES (?1)").bind(&self.way);
            let written = line.execute(db).await;
            written.map_err(|error| tx.failure(error))?;
        }
        tx.submit(NextJob::new(&Note {})?.after(10 * MINUTE))?;
        match self.way.as_str() {
            "retry" => Err(Failure::retry("tired", "again").after(MINUTE)),
            "permanent" => Err(Failure::permanent("no_use", "never")),
            "unavailable" => Err(Failure::unavailable("printer_down", "wait")),
            "panic" => panic!("out of paper"),
            "third" if attempt.number() < 3 => Err(Failure::retry("not_yet", "again")),
            _ => tx.succeed(json!({"attempt": attempt.number()})).await,
        }
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Note {}

impl Job for Note {
    const KIND: &'static str = "line.note";
    type Context = ();

    async fn run(self, (): &(), _: &Attempt) -> JobResult {
        Ok(Done)
    }
}

const LINES: Migration = Migration {
    name: "line 1",
    postgres: "CREATE TABLE line (way text NOT NULL)",
    sqlite: "CREATE TABLE line (way TEXT NOT NULL)",
};
/// Every line, as a question of a balance.
const POSTED: Balance = Balance {
    name: "lines",
    postgres: "SELECT way FROM line",
    sqlite: "SELECT way FROM line",
};

fn post(way: &str) -> Post {
    Post {
        way: way.to_owned(),
    }
}

async fn once(way: &str) -> Outcome {
    let run = RunOnce::new(post(way))
        .migration(LINES)
        .starts::<Note>()
        .attempt(2);
    run.run(&Runs::default()).await.unwrap()
}

fn app(runs: &Runs) -> App {
    App::new()
        .job::<Post>("lines", runs.clone())
        .job::<Note>("lines", ())
        .migration(LINES)
}

#[tokio::test]
async fn one_run_gives_its_outcome_as_a_value() {
    assert_eq!(once("well").await.result(), Some(&json!({"attempt": 2})));
    for (way, class, code, delay) in [
        ("retry", ErrorClass::Retryable, "tired", Some(MINUTE)),
        ("permanent", ErrorClass::Permanent, "no_use", None),
        ("unavailable", ErrorClass::Unavailable, "printer_down", None),
        ("panic", ErrorClass::Panic, "panic", None),
        ("", ErrorClass::Invalid, "invalid_payload", None),
    ] {
        let outcome = once(way).await;
        assert_eq!(outcome.code(), Some(code), "{way}");
        assert_eq!(outcome.error().unwrap().class, class, "{way}");
        assert_eq!(outcome.delay(), delay, "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_is_lived_on_the_tests_clock() {
    let runs = Runs::default();
    let harness = Harness::start(app(&runs)).await.unwrap();
    let began = harness.now();
    let id = harness.submit(&post("third")).await.unwrap();
    let later = harness.submit_after(&post("well"), 60 * MINUTE).await;
    let later = later.unwrap();
    harness.rest().await.unwrap();
    // Without jitter: after 1 s, then after 2 s, and not a moment before.
    for (seconds, state, ran) in [
        (0, State::Retrying, 1),
        (1, State::Retrying, 2),
        (1, State::Retrying, 2),
        (1, State::Succeeded, 3),
    ] {
        harness.advance(Duration::from_secs(seconds)).await.unwrap();
        let job = harness.job(id).await.unwrap();
        assert_eq!((job.state, runs.load(Ordering::SeqCst)), (state, ran));
    }
    let job = harness.job(id).await.unwrap();
    assert_eq!((job.attempt, job.attempts().len()), (3, 3));
    // What failed was rolled back, and so were the jobs that it started.
    let lines = harness.store().differences(&POSTED).await.unwrap();
    assert_eq!(lines, ["third"]);
    let notes = harness.jobs("line.note").await.unwrap();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].state, State::Scheduled);
    harness.advance(10 * MINUTE).await.unwrap();
    let note = harness.job(notes[0].id).await.unwrap();
    assert_eq!(note.state, State::Succeeded);
    assert_eq!(harness.job(later).await.unwrap().state, State::Scheduled);
    harness.advance(50 * MINUTE).await.unwrap();
    let job = harness.job(later).await.unwrap();
    assert_eq!(job.state, State::Succeeded);
    let passed = job.finished_at.unwrap() - began;
    assert_eq!(passed.num_minutes(), 60, "{passed}");
    harness.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_are_listed_and_sent_back_and_the_door_refuses() {
    let runs = Runs::default();
    let harness = Harness::start(app(&runs)).await.unwrap();
    let id = harness.submit(&post("permanent")).await.unwrap();
    harness.rest().await.unwrap();
    let dead = harness.dead_letters().await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].error.as_ref().unwrap().code, "no_use");
    harness.requeue(id).await.unwrap();
    harness.rest().await.unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 2);

    let refused = harness.submit(&post("")).await.unwrap_err();
    assert!(matches!(refused, TestingError::Refused(_)), "{refused}");
    assert!(
        refused.to_string().contains("/payload/way: empty"),
        "{refused}"
    );
    let unknown = harness.submit_json("line.psot", &json!({})).await;
    assert!(unknown.unwrap_err().to_string().contains("line.post"));
    let folder = harness.folder().to_owned();
    assert!(folder.exists());
    harness.stop().await.unwrap();
    assert!(!folder.exists());
}

/// What stands in the guide is what is compiled, and run as its test.
#[test]
fn the_guide_quotes_its_program() {
    let read = |path: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(path).unwrap()
    };
    let (guide, program) = (read("docs/guide.md"), read("examples/guide.rs"));
    let blocks = guide.split("```rust\n").skip(1);
    let code: Vec<&str> = blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(code.len(), 2);
    for block in code {
        assert!(program.contains(block), "not in examples/guide.rs: {block}");
    }
}
