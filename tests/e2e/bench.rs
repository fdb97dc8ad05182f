//! `longshore bench`, on small numbers: what it prints, and that it leaves nothing behind.

use serde_json::Value;

use crate::support::dir::TestDir;
use crate::support::postgres::Postgres;
use crate::support::program::{Launch, Program, longshore};
use crate::support::rabbit::Rabbit;
use crate::support::wait::PATIENCE;

const SMALL: [&str; 6] = ["bench", "--jobs", "600", "--rate", "100", "--json"];

async fn figures(launch: Launch) -> Value {
    let mut bench = launch.start();
    let ended = bench.wait_exit(PATIENCE * 4).await;
    assert!(ended.success(), "{}", bench.output_so_far());
    let line = bench.stdout();
    serde_json::from_str(line.lines().next_back().unwrap()).expect("one object")
}

fn positive(figures: &Value, pointer: &str) {
    let figure = figures.pointer(pointer).and_then(Value::as_f64);
    assert!(
        figure.is_some_and(|figure| figure > 0.0),
        "{pointer}: {figures}"
    );
}

/// The figure is halfway between those of the two runs.
fn between(figures: &Value, pointer: &str) {
    let of = |value: &Value| value.pointer(pointer).and_then(Value::as_f64).unwrap();
    let halfway = f64::midpoint(of(&figures["runs"][0]), of(&figures["runs"][1]));
    assert!(
        (of(figures) - halfway).abs() <= halfway / 1_000.0,
        "{pointer}: {figures}"
    );
}

async fn run(launch: Launch) -> (bool, String) {
    let mut program: Program = launch.start();
    let ended = program.wait_exit(PATIENCE).await;
    (ended.success(), program.output_so_far())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_measures_an_installation_and_leaves_it_as_it_was() {
    let (rabbit, postgres) = tokio::join!(Rabbit::start(), Postgres::start());
    let database = postgres.create_database("longshore").await;
    let launch = |arguments: &[&str]| {
        longshore(arguments)
            .env("DATABASE_URL", &database)
            .env("AMQP_URL", rabbit.url())
    };
    let (migrated, told) = run(launch(&["migrate"])).await;
    assert!(migrated, "{told}");
    let payload = r#"{"sku": "TEA-250", "delta": 1, "reason": "delivery"}"#;
    let submit = ["submit", "inventory.adjust", payload, "--delay", "1h"];
    assert!(run(launch(&submit)).await.0);

    let several = ["--runs", "2", "--workers", "2", "--queues", "3"];
    let arguments: Vec<&str> = SMALL.into_iter().chain(several).collect();
    let figures = figures(launch(&arguments)).await;
    for figure in [
        "/enqueue_single/per_second",
        "/enqueue_batch/per_second",
        "/drain/per_second",
        "/at_once/per_second",
        "/accepted/p99",
        "/started/p50",
        "/done/max",
        "/cpu/own",
        "/cpu/broker",
        "/cpu/store",
        "/wal_per_job",
        "/memory/worker_idle",
        "/limit/both/per_second",
        "/limit/share",
    ] {
        positive(&figures, figure);
    }
    assert_eq!(figures["at_once"]["jobs"], 1_000, "whole batches");
    assert_eq!(figures["started"]["count"], figures["accepted"]["count"]);
    assert_eq!(figures["runs"].as_array().map(Vec::len), Some(2));
    for part in ["at_once", "drain"] {
        between(&figures, &format!("/{part}/per_second"));
    }
    between(&figures, "/limit/share");
    let counted = |run: usize| figures["runs"][run]["started"]["count"].as_u64();
    let all = counted(0).zip(counted(1)).map(|(one, two)| one + two);
    assert_eq!(figures["started"]["count"].as_u64(), all, "of all runs");

    let count = "SELECT count(*), count(*) FILTER (WHERE queue LIKE 'bench%') FROM longshore.job";
    assert_eq!(postgres.psql_in("longshore", count).await, "1|0");
    let left = "SELECT count(*) FROM longshore.tombstone";
    assert_eq!(postgres.psql_in("longshore", left).await, "0");
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'longshore_bench'";
    assert_eq!(postgres.psql_in("longshore", schemas).await, "0");
    let kinds = "SELECT count(*) FROM longshore.kind WHERE name LIKE 'bench%'";
    assert_eq!(postgres.psql_in("longshore", kinds).await, "0");
    let queues = rabbit.ctl(&["list_queues", "name"]).await;
    assert!(!queues.contains("bench"), "{queues}");
    let (sound, told) = run(launch(&["doctor"])).await;
    assert!(sound && told.contains("adds up"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_bench_measures_in_a_folder_of_its_own() {
    let dir = TestDir::new("bench");
    let figures = figures(longshore(SMALL).within(dir.path())).await;
    for figure in [
        "/at_once/per_second",
        "/started/p50",
        "/done/p50",
        "/cpu/own",
    ] {
        positive(&figures, figure);
    }
    let left: Vec<_> = std::fs::read_dir(dir.join(".longshore"))
        .into_iter()
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_bench_says_so_and_leaves_nothing() {
    let dir = TestDir::new("bench");
    let mut bench = longshore(["bench", "--jobs", "10000000"])
        .within(dir.path())
        .start();
    crate::support::wait::until("it is at work", PATIENCE, async || {
        let mut folders = std::fs::read_dir(dir.join(".longshore")).ok()?;
        folders.next()?.ok()
    })
    .await;
    bench.term();
    let ended = bench.wait_exit(PATIENCE).await;
    assert_eq!(ended.code(), Some(1), "{}", bench.output_so_far());
    assert!(bench.stderr().contains("interrupted"));
    assert!(
        std::fs::read_dir(dir.join(".longshore"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_is_told_at_once() {
    let arguments = [
        "bench",
        "--jobs",
        "many",
        "--rate",
        "0",
        "--payload",
        "7",
        "--runs",
        "0",
        "--workers",
        "65",
        "--queues",
        "51",
        "--kind",
        "email.sned",
        "--log",
        "(",
    ];
    let mut bench = longshore(arguments).start();
    let ended = bench.wait_exit(PATIENCE).await;
    assert_eq!(ended.code(), Some(2));
    let told = bench.stderr();
    let flags = [
        "--jobs",
        "--rate",
        "--payload",
        "--runs",
        "--workers",
        "--queues",
        "--kind",
    ];
    for flag in flags.into_iter().chain(["LONGSHORE_LOG"]) {
        assert!(told.contains(flag), "{flag}: {told}");
    }
}
