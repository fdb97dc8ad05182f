use std::time::Duration;

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::record::fault;
use crate::support::wait::{PATIENCE, until};

/// A short timeout, so that the search for lost messages (grace: 2 × timeout + 10 s) begins
/// while the queue is paused.
const QUEUES: &str = r#"
[queues.probe]
kinds = ["probe.sleep", "probe.fail"]
concurrency = 8
prefetch = 16
timeout = "3s"
[queues.probe.retry]
max_attempts = 3
"#;
/// Longer than that grace.
const WHILE: Duration = Duration::from_secs(20);

async fn switch(site: &Site, what: &str) -> Value {
    let path = format!("/v1/queues/probe/{what}");
    site.api.post(&path, &json!(null)).await.expect(200)
}

async fn view(site: &Site) -> Value {
    let queues = site.api.get("/v1/queues").await.expect(200);
    let items = queues["items"].as_array().unwrap();
    items
        .iter()
        .find(|queue| queue["name"] == "probe")
        .unwrap()
        .clone()
}

/// Until nothing runs; then nothing starts either, once every process has heeded the pause.
async fn quiet(site: &Site) -> usize {
    until(
        "nothing runs and nobody holds a delivery",
        PATIENCE,
        async || {
            let running = view(site).await["depth"]["running"] == 0;
            let held = async |queue| site.depth(queue).await.is_some_and(|(_, held)| held > 0);
            let free = !held("longshore.probe").await && !held("longshore.probe.high").await;
            (running && free).then_some(())
        },
    )
    .await;
    starts(site)
}

fn starts(site: &Site) -> usize {
    site.marks().values().map(|marks| marks.starts).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_across_restarts_and_costs_nobody_an_attempt() {
    let mut fault = fault!("Workers, intake and RabbitMQ end while a queue is paused");
    let mut site = Site::with_queues(QUEUES).await;
    let (mut first, mut second) = (site.worker().await, site.worker().await);
    let mut ids = site.submit_sleeps(80, 1_000).await;
    site.started(10).await;
    let paused = switch(&site, "pause").await;
    assert_eq!(paused["paused"]["by"], "anonymous", "{paused}");
    let before = quiet(&site).await;
    assert!(before < ids.len(), "all ran before the pause");
    ids.extend(site.submit_sleeps(20, 10).await);

    first.term();
    assert!(first.wait_exit(PATIENCE).await.success());
    fault.cuts_off(&second);
    second.kill9();
    site.rabbit.restart().await;
    site.intake.as_mut().unwrap().kill9();
    site.start_intake().await;
    let _workers = [site.worker().await, site.worker().await];
    // Nothing happens: that takes time to see.
    tokio::time::sleep(WHILE).await;
    assert_eq!(starts(&site), before, "jobs were started in a paused queue");
    let paused = view(&site).await;
    assert_eq!(paused["depth"]["queued"], ids.len() - before, "{paused}");
    assert!(
        paused["oldest_ready_age"].as_f64().unwrap() > 0.0,
        "{paused}"
    );
    assert_eq!(paused["workers"].as_array().unwrap().len(), 2, "{paused}");
    let ready = async |queue| site.depth(queue).await.map_or(0, |(ready, _)| ready);
    let waiting = ready("longshore.probe").await + ready("longshore.probe.high").await;
    assert!(waiting >= 1, "the messages wait on the broker");
    let said = site.intake.as_ref().unwrap().output_so_far();
    assert!(!said.contains("messages were lost"), "{said}");

    assert_eq!(switch(&site, "resume").await["paused"], Value::Null);
    site.nothing_burned(&ids).await;
    for (id, marks) in site.marks() {
        assert_eq!((marks.starts, marks.ends), (1, 1), "{id}");
    }
    site.hand_in(fault, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_finished_and_a_short_pause_strands_nothing() {
    let site = Site::with_queues(QUEUES).await;
    let worker = site.worker().await;
    let mut ids = site.submit_sleeps(8, 2_500).await;
    site.started(8).await;
    // In the worker's hands, waiting for a slot.
    ids.extend(site.submit_sleeps(16, 10).await);
    for _ in 0..3 {
        switch(&site, "pause").await;
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        switch(&site, "resume").await;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    site.nothing_burned(&ids).await;
    for (id, marks) in site.marks() {
        assert_eq!((marks.starts, marks.ends), (1, 1), "{id}");
    }
    assert_eq!(view(&site).await["depth"]["dead"], 0);
    // Handed back, not lost and found again.
    let said = worker.output_so_far() + &site.intake.as_ref().unwrap().output_so_far();
    assert!(!said.contains("messages were lost"), "{said}");
}
