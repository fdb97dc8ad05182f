//! Requests that are sent twice, queues that nobody knows, and who did what.

use serde_json::{Value, json};

use crate::dev::Dev;
use crate::operating::dead;

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_request_that_is_sent_twice_is_one_operation() {
    let dev = Dev::start().await;
    dead(&dev, 2).await;
    let post = async |what: &str, body: &Value, key: &str| {
        let path = format!("/v1/dead-letters/{what}");
        dev.api
            .post_with(&path, body, &[("idempotency-key", key)])
            .await
    };
    let all = json!({"all": true, "rate": 0.001});
    let first = post("purge", &all, "clean-1").await;
    assert_eq!(first.header("idempotent-replayed"), "");
    let first = first.expect(202);
    let again = post("purge", &json!({"rate": 1e-3, "all": true}), "clean-1").await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.expect(202)["id"], first["id"]);
    for (what, body) in [("purge", json!({"all": true})), ("requeue", all.clone())] {
        let refused = post(what, &body, "clean-1").await.expect(422);
        assert_eq!(refused["code"], "idempotency_key_reused", "{refused}");
    }
    let refused = post("purge", &all, &"k".repeat(256)).await.expect(422);
    assert_eq!(refused["code"], "invalid_idempotency_key", "{refused}");
    let operations = dev.api.get("/v1/operations").await.expect(200);
    assert_eq!(operations["items"].as_array().unwrap().len(), 1);

    let unknown = json!({"queue": ["email", "emial"]});
    let refused = dev.api.post("/v1/dead-letters/requeue", &unknown).await;
    let refused = refused.expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/queue", "{refused}");
    let hint = refused["errors"][0]["message"].as_str().unwrap();
    assert!(hint.contains("did you mean `email`?"), "{hint}");
    let (code, _, err) = dev.run(&["jobs", "list", "--queue", "emial"]).await;
    assert!(code == Some(2) && err.contains("`email`"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_on_for_as_long_as_is_asked() {
    let dev = Dev::start().await;
    let dead = dead(&dev, 3).await;
    let path = "/v1/dead-letters/groups?queue=email&limit=1";
    let only = dev.api.get(path).await.expect(200);
    assert_eq!(only["items"][0]["count"], 3, "one cause: {only}");
    assert!(only["next_cursor"].is_null(), "{only}");
    let (code, out, err) = dev.run(&["dlq", "list", "--limit", "2"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.lines().count(), 3, "a header and two jobs: {out}");
    assert!(err.contains("--all"), "what is left out is said: {err}");
    let (_, out, err) = dev.run(&["jobs", "list", "--all", "--json"]).await;
    assert_eq!((out.lines().count(), &err[..]), (3, ""), "{out}");
    for id in &dead {
        assert!(out.contains(id));
    }
    let (_, out, err) = dev.run(&["dlq", "list", "--group", "--all"]).await;
    assert_eq!((out.lines().count(), &err[..]), (2, ""), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn causes_are_read_in_pages() {
    let dev = Dev::start().await;
    dead(&dev, 2).await;
    let charge = json!({"amount": 100, "currency": "EUR", "reference": "order-9",
        "payment_method": "pm_card_chargeDeclined"});
    let job = json!({"kind": "payment.charge", "payload": charge});
    let id = dev.api.post("/v1/jobs", &job).await.expect(202)["id"].clone();
    let path = format!("/v1/jobs/{}?wait=60s", id.as_str().unwrap());
    assert_eq!(dev.api.get(&path).await.expect(200)["state"], "dead");
    let path = "/v1/dead-letters/groups?limit=1";
    let first = dev.api.get(path).await.expect(200);
    assert_eq!(first["items"][0]["count"], 2, "{first}");
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = dev.api.get(&format!("{path}&cursor={cursor}")).await;
    let rest = rest.expect(200);
    assert_eq!(rest["items"][0]["kind"], "payment.charge", "{rest}");
    assert!(rest["next_cursor"].is_null(), "{rest}");
    let (_, out, _) = dev.run(&["dlq", "list", "--group", "--limit", "1"]).await;
    assert!(
        out.contains("refused") && !out.contains("payment.charge"),
        "{out}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_did_is_read_from_both_doors() {
    let dev = Dev::start().await;
    let dead = dead(&dev, 2).await;
    dev.api
        .post("/v1/queues/email/pause", &json!({}))
        .await
        .expect(200);
    let (code, _, err) = dev.run(&["queues", "resume", "email"]).await;
    assert_eq!(code, Some(0), "{err}");
    let path = format!("/v1/jobs/{}/requeue", dead[0]);
    dev.api.post(&path, &json!({})).await.expect(202);
    let (_, _, err) = dev
        .run(&["dlq", "purge", "email", "--error", "order 1"])
        .await;
    assert_eq!(err, "");
    let page = dev.api.get("/v1/audit?limit=3").await.expect(200);
    let told: Vec<&str> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["deed"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["purge", "requeue", "resume_queue"], "{page}");
    assert_eq!(page["items"][0]["detail"]["filter"]["error"], "order 1");
    assert_eq!(page["items"][1]["by"], "anonymous");
    let by = page["items"][0]["by"].as_str().unwrap();
    assert!(by.starts_with("cli:") && by.contains('@'), "{by}");
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = dev
        .api
        .get(&format!("/v1/audit?cursor={cursor}"))
        .await
        .expect(200);
    assert_eq!(rest["items"][0]["deed"], "pause_queue", "{rest}");
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    let wrong = dev.api.get("/v1/audit?deed=party").await.expect(422);
    assert_eq!(wrong["parameter"], "deed", "{wrong}");
    let (code, out, _) = dev.run(&["audit", "--deed", "purge", "--json"]).await;
    let entry: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &entry["detail"]["matched"]), (Some(0), &json!(1)));
    let (_, out, _) = dev.run(&["audit", "--by", "anonymous"]).await;
    assert!(
        out.contains("pause_queue") && out.contains(&dead[0]),
        "{out}"
    );
}
