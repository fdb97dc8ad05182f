use std::time::Duration;

use serde_json::json;

use crate::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restart_re_runs_nothing_and_loses_nothing() {
    let mut site = Site::start().await;
    let _workers = [site.worker().await, site.worker().await];
    let ids = site.submit_sleeps(16, 6_000).await;
    site.started(16).await;
    site.postgres.restart_immediately().await;
    site.nothing_burned(&ids).await;
    let marks = site.marks();
    for id in &ids {
        assert_eq!((marks[id].starts, marks[id].ends), (1, 1), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_database_down_nothing_is_accepted_and_all_recover_by_themselves() {
    let mut site = Site::start().await;
    let worker = site.worker().await;
    let before = site.submit_sleeps(10, 2_000).await;
    site.started(8).await;
    site.postgres.kill();
    let body = json!({"kind": "probe.sleep", "payload": {"ms": 1}});
    let refused = site.api.post("/v1/jobs", &body).await;
    assert!(!refused.header("retry-after").is_empty());
    let problem = refused.expect(503);
    assert_eq!(problem["code"], "store_unavailable");
    tokio::time::sleep(Duration::from_secs(5)).await;
    site.postgres.restart().await;
    site.nothing_burned(&before).await;
    let marks = site.marks();
    for id in &before {
        assert_eq!(marks[id].ends, 1, "{id}");
    }
    told_once(&worker.stderr());
}

/// The log of an outage is for people: its beginning, its end, and the few failures that came
/// before the heartbeat's.
fn told_once(log: &str) {
    let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(count("no heartbeat"), 1, "{log}");
    assert_eq!(count("the database answers again"), 1, "{log}");
    assert!(count("WARN") < 16, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_stall_re_runs_nothing() {
    let mut site = Site::start().await;
    let _workers = [site.worker().await, site.worker().await];
    let ids = site.submit_sleeps(16, 4_000).await;
    site.started(16).await;
    site.postgres.freeze();
    tokio::time::sleep(Duration::from_secs(20)).await;
    site.postgres.thaw();
    site.nothing_burned(&ids).await;
    let marks = site.marks();
    for id in &ids {
        assert_eq!((marks[id].starts, marks[id].ends), (1, 1), "{id}");
    }
}
