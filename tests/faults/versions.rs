//! Two versions of `queues.toml` side by side, as in a rolling deploy: a queue comes, one goes,
//! and a kind moves.

use std::time::Duration;

use serde_json::json;

use crate::broker::ran_once;
use crate::load::{Load, exactly};
use crate::site::Site;
use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::program::{Launch, Program, free_port};
use crate::support::record::fault;
use crate::support::wait::{PATIENCE, until};

const OLD: &str = r#"
[queues.probe]
kinds = ["probe.sleep", "probe.fail"]
concurrency = 4
prefetch = 8
timeout = "30s"
[queues.leaving]
kinds = ["probe.steps"]
timeout = "30s"
"#;
const NEW: &str = r#"
[queues.probe]
kinds = ["probe.fail"]
concurrency = 4
prefetch = 8
timeout = "30s"
[queues.slow]
kinds = ["probe.sleep", "probe.steps"]
concurrency = 4
timeout = "30s"
"#;

/// A command of the new version.
fn newer(site: &Site, dir: &TestDir, arguments: &[&str]) -> Launch {
    let file = dir.join("queues.toml");
    std::fs::write(&file, NEW).unwrap();
    site.launch(arguments).env("LONGSHORE_QUEUES", file)
}

async fn worker(site: &Site, launch: Launch) -> Program {
    let port = free_port();
    let health = format!("127.0.0.1:{port}");
    let worker = launch.env("LONGSHORE_HEALTH_LISTEN", health).start();
    site.ready(port).await;
    worker
}

async fn leaves(mut program: Program) {
    program.term();
    assert!(program.wait_exit(PATIENCE).await.success());
}

async fn submit(api: &Api, kind: &str) -> String {
    let payload = match kind {
        "probe.steps" => json!({"steps": 5, "ms": 40}),
        _ => json!({"ms": 400}),
    };
    let body = json!({"kind": kind, "payload": payload});
    let job = api.post("/v1/jobs", &body).await.expect(202);
    job["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_new_queues_side_by_side_lose_and_repeat_nothing() {
    let fault = fault!("A deploy adds a queue, takes one away and moves a kind, under load");
    let (mut site, dir) = (Site::with_queues(OLD).await, TestDir::new("newer"));
    let old = worker(&site, site.launch(&["work"])).await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(submit(&site.api, "probe.sleep").await);
        ids.push(submit(&site.api, "probe.steps").await);
    }
    let port = free_port();
    let _intake = newer(&site, &dir, &["intake"])
        .env("LONGSHORE_LISTEN", format!("127.0.0.1:{port}"))
        .start();
    site.ready(port).await;
    let api = Api::new(format!("http://127.0.0.1:{port}"));
    let both = Load::start(&[&site.api.clone(), &api]);
    // One for each queue: none of them has all kinds.
    let _new = [
        worker(&site, newer(&site, &dir, &["work", "probe"])).await,
        worker(&site, newer(&site, &dir, &["work", "slow"])).await,
    ];
    for _ in 0..10 {
        ids.push(submit(&api, "probe.sleep").await);
        ids.push(submit(&api, "probe.steps").await);
    }
    leaves(old).await;
    // Accepted by the old one, for queues that only an old worker knows as they were.
    for _ in 0..10 {
        ids.push(submit(&site.api, "probe.sleep").await);
    }
    let stranded = submit(&site.api, "probe.steps").await;
    let (accepted, refusals) = both.stop().await;
    assert_eq!(refusals, 0);
    ids.extend(accepted);
    leaves(site.intake.take().unwrap()).await;
    site.api = api;
    site.nothing_burned(&ids).await;
    ran_once(&site, &ids);

    // A queue that is gone from the file is not gone: what waits in it is told, and runs once
    // somebody works it.
    until("doctor tells of the queue", PATIENCE, async || {
        let mut doctor = newer(&site, &dir, &["doctor"]).start();
        doctor.wait_exit(PATIENCE).await;
        let said = doctor.stdout();
        let told = said.contains("1 jobs wait in leaving, and no process works it");
        told.then_some(())
    })
    .await;
    assert_eq!(site.job(&stranded).await["state"], "queued");
    let _old = worker(&site, site.launch(&["work", "leaving"])).await;
    ids.push(stranded);
    exactly(&site, &ids).await;
    site.nothing_burned(&ids).await;
    ran_once(&site, &ids);
    site.hand_in(fault, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_gone_from_the_file_survives_the_broker() {
    let fault = fault!("RabbitMQ is wiped with a job in a queue that is gone from the file");
    let (mut site, dir) = (Site::with_queues(OLD).await, TestDir::new("newer"));
    let stranded = [submit(&site.api, "probe.steps").await];
    leaves(site.intake.take().unwrap()).await;
    site.rabbit.kill();
    site.rabbit.wipe();
    site.rabbit.restart().await;
    // Nobody of the new version declares the queue, and nobody gives the job up.
    let port = free_port();
    let intake = newer(&site, &dir, &["intake"])
        .env("LONGSHORE_LISTEN", format!("127.0.0.1:{port}"))
        .start();
    site.ready(port).await;
    site.api = Api::new(format!("http://127.0.0.1:{port}"));
    let _new = worker(&site, newer(&site, &dir, &["work"])).await;
    let other = submit(&site.api, "probe.sleep").await;
    site.all(std::slice::from_ref(&other), "succeeded").await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(site.job(&stranded[0]).await["state"], "queued");
    let _old = worker(&site, site.launch(&["work", "leaving"])).await;
    site.nothing_burned(&stranded).await;
    ran_once(&site, &stranded);
    let warnings = intake.stderr().matches("leaving").count();
    assert!(warnings < 20, "{}", intake.stderr());
    let [stranded] = stranded;
    site.hand_in(fault, &[stranded, other]).await;
}
