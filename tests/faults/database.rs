use std::time::Duration;

use serde_json::json;

use crate::site::Site;
use crate::support::record::fault;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restart_re_runs_nothing_and_loses_nothing() {
    let mut fault = fault!("PostgreSQL ends at once, without a checkpoint, and starts again");
    let mut site = Site::start().await;
    let _workers = [site.worker().await, site.worker().await];
    let mut ids = site.submit_sleeps(12, 6_000).await;
    site.started(12).await;
    site.postgres.restart_immediately().await;
    fault.over();
    ids.push(
        site.submit_when_accepted("probe.sleep", json!({"ms": 1}))
            .await,
    );
    site.nothing_burned(&ids).await;
    let marks = site.marks();
    for id in &ids {
        assert_eq!((marks[id].starts, marks[id].ends), (1, 1), "{id}");
    }
    site.hand_in(fault, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_database_down_nothing_is_accepted_and_all_recover_by_themselves() {
    let mut fault = fault!("PostgreSQL is killed and down for seconds");
    let mut site = Site::start().await;
    let worker = site.worker().await;
    // More than are begun by the time the server is known to answer again.
    let before = site.submit_sleeps(40, 1_000).await;
    site.started(8).await;
    site.postgres.kill();
    let body = json!({"kind": "probe.sleep", "payload": {"ms": 1}});
    let refused = site.api.post("/v1/jobs", &body).await;
    assert!(!refused.header("retry-after").is_empty());
    let problem = refused.expect(503);
    assert_eq!(problem["code"], "store_unavailable");
    tokio::time::sleep(Duration::from_secs(5)).await;
    site.postgres.restart().await;
    fault.over();
    site.nothing_burned(&before).await;
    let marks = site.marks();
    for id in &before {
        assert_eq!(marks[id].ends, 1, "{id}");
    }
    told_once(&worker.stderr());
    site.hand_in(fault, &before).await;
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
    let mut fault = fault!("PostgreSQL stalls for 20 s while jobs run");
    let mut site = Site::start().await;
    let _workers = [site.worker().await, site.worker().await];
    let mut ids = site.submit_sleeps(12, 4_000).await;
    site.started(12).await;
    site.postgres.freeze();
    tokio::time::sleep(Duration::from_secs(20)).await;
    site.postgres.thaw();
    fault.over();
    ids.push(
        site.submit_when_accepted("probe.sleep", json!({"ms": 1}))
            .await,
    );
    site.nothing_burned(&ids).await;
    let marks = site.marks();
    for id in &ids {
        assert_eq!((marks[id].starts, marks[id].ends), (1, 1), "{id}");
    }
    site.hand_in(fault, &ids).await;
}
