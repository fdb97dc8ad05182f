//! The two doors besides HTTP, as apps use them: SQL in their own transaction, and AMQP.

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::record::fault;
use crate::support::wait::{PATIENCE, until};

/// Waits until this many jobs have ended well, and nothing else is under way.
async fn ended_well(site: &Site, count: usize) -> Vec<Value> {
    until("all have ended", PATIENCE, async || {
        let found = site.api.get("/v1/jobs?state=succeeded&limit=500").await;
        // None while the database is away.
        let jobs = found.body["items"].as_array()?.clone();
        (jobs.len() == count).then_some(jobs)
    })
    .await
}

fn ids(jobs: &[Value]) -> Vec<String> {
    let id = |job: &Value| job["id"].as_str().unwrap().to_owned();
    jobs.iter().map(id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_runs_if_its_transaction_commits_and_never_if_not() {
    let site = Site::start().await;
    let _worker = site.worker().await;
    let submit = |ms: u64| format!("SELECT longshore.submit('probe.sleep', '{{\"ms\": {ms}}}');");
    let one = |ms| site_sql(&site, submit(ms));
    let committed = one(1).await;
    site_sql(&site, format!("BEGIN; {} ROLLBACK", submit(2))).await;
    let undone = format!(
        "BEGIN; {} SAVEPOINT s; {} ROLLBACK TO s; COMMIT",
        submit(3),
        submit(4)
    );
    site_sql(&site, undone).await;
    // Not what the kind takes: only a worker can tell.
    let bad = "SELECT longshore.submit('probe.sleep', '{\"seconds\": 1}')".to_owned();
    let bad = site_sql(&site, bad).await;
    let many = "SELECT count(longshore.submit('probe.sleep', '{\"ms\": 0}'))
                FROM generate_series(1, 300)";
    site_sql(&site, many.to_owned()).await;
    let jobs = ended_well(&site, 302).await;
    let ran: Vec<u64> = jobs
        .iter()
        .filter_map(|job| job["payload"]["ms"].as_u64())
        .filter(|ms| *ms > 0)
        .collect();
    assert!(
        ran.contains(&1) && ran.contains(&3) && ran.len() == 2,
        "{ran:?}"
    );
    let dead = site.all(&[bad], "dead").await;
    assert_eq!(dead[0]["error"]["code"], "invalid_payload");
    let marks = site.marks();
    assert_eq!(marks.len(), 302);
    assert!(marks.values().all(|marks| marks.ends == 1));
    site.nothing_burned(&[committed]).await;
}

async fn site_sql(site: &Site, sql: String) -> String {
    site.postgres.psql_in("longshore", &sql).await
}

/// A Python app with pika: `publish.py URL`, one message a line on standard input.
async fn publish(site: &Site, messages: &[Value]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/publish.py");
    let python = std::env::var_os("TEST_PYTHON").expect("TEST_PYTHON: tests/run sets it");
    let lines: Vec<String> = messages.iter().map(Value::to_string).collect();
    let dir = crate::support::dir::TestDir::new("publish");
    std::fs::write(dir.join("messages"), lines.join("\n")).unwrap();
    let output = tokio::process::Command::new(python)
        .args(["-X", "utf8", script, &site.rabbit.url()])
        .stdin(std::fs::File::open(dir.join("messages")).unwrap())
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

fn sleep_message(message_id: &str, app_id: Option<&str>, ms: u64) -> Value {
    json!({"routing_key": "probe", "type": "probe.sleep", "message_id": message_id,
           "app_id": app_id, "body": format!("{{\"ms\": {ms}}}")})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pika_publishes_runs_once_however_often_it_is_published() {
    let fault = fault!("An app publishes its messages again and again");
    let site = Site::start().await;
    let _workers = [site.worker().await, site.worker().await];
    let once = sleep_message("order-1", None, 1);
    let twice = sleep_message("order-2", None, 2);
    let shop = sleep_message("order-2", Some("shop"), 3);
    let mut high = sleep_message("order-3", Some("shop"), 4);
    high["routing_key"] = "probe.high".into();
    let all = [&once, &twice, &twice, &shop, &shop, &shop, &high].map(Clone::clone);
    publish(&site, &all).await;
    ended_well(&site, 4).await;
    // Once more, when all of them have long ended; and something after it, to know when it
    // must have been seen.
    publish(&site, &all).await;
    publish(&site, &[sleep_message("order-4", None, 5)]).await;
    let jobs = ended_well(&site, 5).await;
    until("nothing is left on the broker", PATIENCE, async || {
        (site.depth("longshore.probe").await? == (0, 0)).then_some(())
    })
    .await;
    let mut ran: Vec<u64> = jobs
        .iter()
        .filter_map(|job| job["payload"]["ms"].as_u64())
        .collect();
    ran.sort_unstable();
    assert_eq!(ran, [1, 2, 3, 4, 5]);
    let marks = site.marks();
    assert!(marks.len() == 5 && marks.values().all(|marks| marks.ends == 1));
    for job in &jobs {
        let high = job["payload"]["ms"] == 4;
        assert_eq!(job["priority"], if high { "high" } else { "normal" });
    }
    site.hand_in(fault, &ids(&jobs)).await;
}

/// A row of `type`, `message_id`, routing key and body each, and the code it must die with.
fn junk() -> Vec<(Value, &'static str)> {
    let message = |kind: Value, id: Value, key: &str, body: &str| json!({"type": kind, "message_id": id, "routing_key": key, "body": body});
    let sleep = || json!("probe.sleep");
    let huge = format!("\"{}\"", "x".repeat(10 * 1024 * 1024));
    vec![
        (message(Value::Null, json!("j-1"), "probe", "{}"), "no_type"),
        (
            message(json!("No Kind!"), json!("j-2"), "probe", "{}"),
            "bad_type",
        ),
        (
            message(sleep(), Value::Null, "probe", "{\"ms\": 1}"),
            "no_message_id",
        ),
        (
            message(json!("probe.slep"), json!("j-3"), "probe", "{}"),
            "unknown_kind",
        ),
        (
            message(json!("other.kind"), json!("j-4"), "probe.high", "{}"),
            "wrong_queue",
        ),
        (
            message(sleep(), json!("j-5"), "probe", "{\"ms\": \"1\"}"),
            "invalid_payload",
        ),
        (
            message(sleep(), json!("j-6"), "probe", "{\"ms\": 1"),
            "bad_json",
        ),
        (message(sleep(), json!("j-7"), "probe", ""), "bad_json"),
        (
            message(sleep(), json!("j-8"), "probe", &huge),
            "payload_too_large",
        ),
    ]
}

async fn dead(site: &Site) -> Vec<(String, Value)> {
    let found = site
        .api
        .get("/v1/jobs?state=dead&limit=500")
        .await
        .expect(200);
    let jobs = found["items"].as_array().unwrap().iter();
    let code = |job: &Value| job["error"]["code"].as_str().unwrap().to_owned();
    jobs.map(|job| (code(job), job.clone())).collect()
}

async fn all_dead(site: &Site, expected: &mut [&str]) {
    expected.sort_unstable();
    until("all of it is dead", PATIENCE, async || {
        let mut codes: Vec<String> = dead(site).await.into_iter().map(|(code, _)| code).collect();
        codes.sort_unstable();
        (codes == *expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_from_apps_dies_with_its_reason_and_is_counted() {
    let fault = fault!("An app publishes junk, some of it of 10 MB");
    let site = Site::start().await;
    let _worker = site.worker().await;
    // Another program's kind, in another queue.
    let other = "INSERT INTO longshore.kind VALUES ('other.kind', 'other', now())";
    site_sql(&site, other.to_owned()).await;
    let junk = junk();
    let messages: Vec<Value> = junk.iter().map(|(message, _)| message.clone()).collect();
    publish(&site, &messages).await;
    let mut expected: Vec<&str> = junk.iter().map(|(_, code)| *code).collect();
    all_dead(&site, &mut expected).await;
    // What Latin-1 makes of a short string.
    let mut odd = sleep_message("caf\u{e9}", None, 1);
    odd["latin1"] = true.into();
    publish(&site, &[odd]).await;
    publish(&site, &[sleep_message("good", None, 1)]).await;
    expected.push("unreadable");
    all_dead(&site, &mut expected).await;
    for (code, job) in dead(&site).await {
        assert!(
            !job["error"]["message"].as_str().unwrap().is_empty(),
            "{code}"
        );
        assert_eq!(job["queue"], "probe", "{code}");
        assert!(job["payload"].to_string().len() < 100_000, "{code}");
    }
    let good = ended_well(&site, 1).await;
    let accepted = site_sql(
        &site,
        "SELECT sum(accepted) FROM longshore.tally".to_owned(),
    )
    .await;
    assert_eq!(accepted, (expected.len() + 1).to_string(), "dead and good");
    site.hand_in_besides(fault, &ids(&good), expected.len())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_while_the_database_is_down_waits_for_it() {
    let mut fault = fault!("PostgreSQL is killed while apps publish to RabbitMQ");
    let mut site = Site::start().await;
    let _workers = [site.worker().await, site.worker().await];
    site.postgres.kill();
    let mut messages: Vec<Value> = (0..30)
        .map(|number| sleep_message(&format!("m-{}", number % 20), None, 1))
        .collect();
    messages.push(json!({"routing_key": "probe", "body": "junk"}));
    publish(&site, &messages).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    site.postgres.restart().await;
    fault.over();
    let jobs = ended_well(&site, 20).await;
    until("the junk is dead", PATIENCE, async || {
        (dead(&site).await.len() == 1).then_some(())
    })
    .await;
    assert_eq!(
        site.marks().values().map(|marks| marks.ends).sum::<usize>(),
        20
    );
    site.hand_in_besides(fault, &ids(&jobs), 1).await;
}
