//! A store that is stopped, frozen or full: every call says so within a second, and what was
//! said to be accepted is there when it returns, once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::site::Site;
use crate::support::http::Api;
use crate::support::record::{Fault, fault};
use crate::support::wait::{PATIENCE, until};

/// Far above the second that is promised, and below what a statement (9 s), TCP or the database
/// itself takes: it proves that nobody waits for those, on however busy a machine.
const TOLD: Duration = Duration::from_secs(8);

/// What one client saw of its submissions.
#[derive(Default)]
struct Seen {
    /// Key to job.
    accepted: HashMap<String, String>,
    refused: u64,
    slowest: Duration,
}

/// Submits with a key of its own each, tries again until it is accepted, and starts over.
async fn client(api: Api, number: usize, stop: Arc<AtomicBool>) -> Seen {
    let body = json!({"kind": "probe.sleep", "payload": {"ms": 1}});
    let mut seen = Seen::default();
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let key = format!("client-{number}-{count}");
        count += 1;
        loop {
            let began = Instant::now();
            let headers = [("idempotency-key", key.as_str())];
            let answer = api.post_with("/v1/jobs", &body, &headers).await;
            seen.slowest = seen.slowest.max(began.elapsed());
            if answer.status.as_u16() == 202 {
                let id = answer.body["id"].as_str().unwrap().to_owned();
                seen.accepted.insert(key, id);
                break;
            }
            assert_eq!(answer.header("retry-after"), "1", "{}", answer.body);
            let problem = answer.expect(503);
            assert_eq!(problem["code"], "store_unavailable");
            seen.refused += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    seen
}

async fn while_clients_submit(
    mut fault: Fault,
    site: &mut Site,
    trouble: impl AsyncFnOnce(&mut Site, &mut Fault),
) {
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..12)
        .map(|number| tokio::spawn(client(site.api.clone(), number, stop.clone())))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    trouble(site, &mut fault).await;
    // Some more after its return.
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.store(true, Ordering::Relaxed);
    let mut accepted = HashMap::new();
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for client in clients {
        let seen = client.await.unwrap();
        accepted.extend(seen.accepted);
        refused += seen.refused;
        slowest = slowest.max(seen.slowest);
    }
    assert!(refused > 0, "nobody noticed");
    assert!(slowest < TOLD, "an answer took {slowest:?}");
    exactly_these(site, &accepted).await;
    let ids: Vec<String> = accepted.into_values().collect();
    site.hand_in(fault, &ids).await;
}

/// Each key has its one job, each job its key, and all of them run.
async fn exactly_these(site: &Site, accepted: &HashMap<String, String>) {
    let sql = "SELECT key || ' ' || job FROM longshore.unique_key ORDER BY 1";
    let rows = site.postgres.psql_in("longshore", sql).await;
    let kept: HashMap<String, String> = rows
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(key, job)| (key.to_owned(), job.to_owned()))
        .collect();
    assert_eq!(kept, *accepted);
    let jobs = site
        .postgres
        .psql_in("longshore", "SELECT count(*) FROM longshore.job")
        .await;
    assert_eq!(jobs, accepted.len().to_string());
    until("all of them have run", PATIENCE, async || {
        let sql = "SELECT count(*) FROM longshore.done WHERE state = 4";
        let ended = site.postgres.psql_in("longshore", sql).await;
        (ended == accepted.len().to_string()).then_some(())
    })
    .await;
    let marks = site.marks();
    for (key, id) in accepted {
        assert_eq!(marks[id].ends, 1, "{key}");
    }
}

/// Every call that the description knows and that needs the store, each answered with 503 in
/// time; health is not among them.
async fn all_are_told(site: &Site) {
    let id = uuid::Uuid::now_v7();
    let mut calls = vec![
        (Method::GET, format!("/v1/jobs/{id}?wait=30s")),
        (Method::GET, "/v1/jobs?state=dead".to_owned()),
    ];
    let described = site.api.get("/openapi.json").await.expect(200);
    for (path, operations) in described["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let problems = &operation["responses"]["503"]["content"]["application/problem+json"];
            let codes = &problems["schema"]["allOf"][1]["properties"]["code"]["enum"];
            let codes = codes.as_array().unwrap();
            if codes.contains(&"store_unavailable".into()) {
                let method = method.to_ascii_uppercase().parse().unwrap();
                let path = path.replace("{id}", &id.to_string());
                let name = path.find('{').zip(path.find('}'));
                let path = name.map_or(path.clone(), |(from, to)| {
                    format!("{}email{}", &path[..from], &path[to + 1..])
                });
                calls.push((method, path));
            }
        }
    }
    assert!(calls.len() > 6, "{calls:?}");
    for (method, path) in calls {
        // Nothing that could be accepted: it is not looked at.
        let body = json!({});
        let body = (method == Method::POST).then_some(&body);
        let began = Instant::now();
        let answer = site.api.call(method.clone(), &path, body, &[]).await;
        let call = format!("{method} {path}");
        assert!(began.elapsed() < TOLD, "{call}: {:?}", began.elapsed());
        assert_eq!(answer.header("retry-after"), "1", "{call}");
        let problem: Value = answer.expect(503);
        assert_eq!(problem["code"], "store_unavailable", "{call}");
        let sent = problem["detail"].as_str().unwrap().contains("was sent");
        assert_eq!(sent, method == Method::POST, "{call}: {problem}");
    }
    site.api.get("/healthz").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_database_killed_every_call_is_told_and_nothing_is_doubled() {
    let fault = fault!("PostgreSQL is killed three times while clients submit");
    let mut site = Site::start().await;
    let _worker = site.worker().await;
    while_clients_submit(fault, &mut site, async |site, fault| {
        for _ in 0..3 {
            site.postgres.kill();
            tokio::time::sleep(Duration::from_secs(1)).await;
            all_are_told(site).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            site.postgres.restart().await;
            fault.over();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_database_frozen_every_call_is_told_and_nothing_is_doubled() {
    let fault = fault!("PostgreSQL is frozen for up to 14 s while clients submit");
    let mut site = Site::start().await;
    let _worker = site.worker().await;
    while_clients_submit(fault, &mut site, async |site, fault| {
        // Longer than a transaction is waited for, and shorter.
        for seconds in [2, 13, 4] {
            site.postgres.freeze();
            tokio::time::sleep(Duration::from_secs(1)).await;
            all_are_told(site).await;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            site.postgres.thaw();
            fault.over();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_connection_to_be_had_every_call_is_told() {
    let fault = fault!("PostgreSQL has no connection left while clients submit");
    let mut site = Site::as_role("app").await;
    let _worker = site.worker().await;
    while_clients_submit(fault, &mut site, async |site, fault| {
        let full = "ALTER ROLE app CONNECTION LIMIT 0";
        site.postgres.psql(full).await;
        // Who was about to be let in is in after the others are thrown out.
        until("nobody is left", PATIENCE, async || {
            let out = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                       WHERE usename = 'app'";
            let left = site.postgres.psql(out).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            (left == "0").then_some(())
        })
        .await;
        all_are_told(site).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let room = "ALTER ROLE app CONNECTION LIMIT -1";
        site.postgres.psql(room).await;
        fault.over();
        tokio::time::sleep(Duration::from_secs(2)).await;
    })
    .await;
}
