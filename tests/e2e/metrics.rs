use serde_json::json;

use crate::dev::{Dev, mail};
use crate::support::wait::{PATIENCE, until};

async fn metrics(dev: &Dev) -> Vec<String> {
    let text = dev.api.get("/metrics").await;
    let media = text.header("content-type").to_owned();
    assert!(media.starts_with("application/openmetrics-text"), "{media}");
    let text = text.expect(200);
    text.as_str().unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passed_and_what_is_held_is_told_to_prometheus() {
    let dev = Dev::start().await;
    let later = json!({"kind": "email.send", "payload": mail("x"), "delay": "1h"});
    dev.api.post("/v1/jobs", &later).await.expect(202);
    let now = json!({"kind": "email.send", "payload": mail("x")});
    let job = dev.api.post("/v1/jobs", &now).await.expect(202);
    let id = job["id"].as_str().unwrap();
    let ended = dev.api.get(&format!("/v1/jobs/{id}?wait=30s")).await;
    assert_eq!(ended.expect(200)["state"], "succeeded");
    let wanted = [
        "longshore_ready 1",
        "longshore_jobs_accepted_total{queue=\"email\"} 2",
        "longshore_runs_total{queue=\"email\",outcome=\"succeeded\"} 1",
        "longshore_run_seconds_count{queue=\"email\"} 1",
        "longshore_jobs_running{queue=\"email\"} 0",
        "longshore_job_slots{queue=\"email\"} 64",
        "longshore_jobs{queue=\"email\",state=\"scheduled\"} 1",
    ];
    // Counts of the store stand for a second.
    until("the metrics tell of both jobs", PATIENCE, async || {
        let told = metrics(&dev).await;
        wanted
            .iter()
            .all(|line| told.iter().any(|told| told == line))
            .then_some(())
    })
    .await;
    let told = metrics(&dev).await;
    assert_eq!(told.last().unwrap(), "# EOF");
}
