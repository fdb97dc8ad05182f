use serde_json::{Value, json};

use crate::dev::{Dev, mail};
use crate::support::wait::{PATIENCE, until};

async fn queue(dev: &Dev, name: &str) -> Value {
    let list = dev.api.get("/v1/queues").await.expect(200);
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .find(|queue| queue["name"] == name)
        .unwrap()
        .clone()
}

async fn switch(dev: &Dev, what: &str, status: u16) -> Value {
    let path = format!("/v1/queues/{what}");
    dev.api.post(&path, &json!(null)).await.expect(status)
}

async fn submit(dev: &Dev) -> String {
    let body = json!({"kind": "email.send", "payload": mail("x")});
    let job = dev.api.post("/v1/jobs", &body).await.expect(202);
    job["id"].as_str().unwrap().to_owned()
}

async fn state(dev: &Dev, id: &str) -> Value {
    let job = dev
        .api
        .get(&format!("/v1/jobs/{id}?wait=1s"))
        .await
        .expect(200);
    job["state"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_queue_accepts_and_starts_nothing_until_it_is_resumed() {
    let mut dev = Dev::start().await;
    let (code, out, err) = dev.run(&["queues", "pause", "email", "--json"]).await;
    assert_eq!(code, Some(0), "{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    let by = told["paused"]["by"].as_str().unwrap();
    assert!(told["name"] == "email" && by.starts_with("cli:"), "{told}");
    dev.process.wait_for_line("paused", PATIENCE).await;
    let id = submit(&dev).await;
    dev.api.get("/readyz").await.expect(200);
    // It starts up paused, too.
    dev.process.term();
    assert!(dev.process.wait_exit(PATIENCE).await.success());
    let dev = Dev::within(dev.dir).await;
    assert_eq!(state(&dev, &id).await, "queued");
    let paused = queue(&dev, "email").await;
    assert_eq!(paused["depth"]["queued"], 1, "{paused}");
    assert_eq!(paused["paused"], told["paused"]);
    assert!(paused["oldest_ready_age"].as_f64().is_some());
    let (_, table, _) = dev.run(&["queues", "list"]).await;
    assert!(table.contains("paused since"), "{table}");
    let again = switch(&dev, "email/pause", 200).await;
    assert_eq!(again["paused"], paused["paused"], "whoever was first");

    let resumed = switch(&dev, "email/resume", 200).await;
    assert_eq!(resumed["paused"], Value::Null);
    until("it has run", PATIENCE, async || {
        (state(&dev, &id).await == "succeeded").then_some(())
    })
    .await;
    switch(&dev, "email/resume", 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_and_workers_tell_what_they_do() {
    let dev = Dev::start().await;
    let id = submit(&dev).await;
    until("it has run", PATIENCE, async || {
        (state(&dev, &id).await == "succeeded").then_some(())
    })
    .await;
    let email = until("the rates are told", PATIENCE, async || {
        let email = queue(&dev, "email").await;
        (email["rates"]["finished"].as_f64()? > 0.0).then_some(email)
    })
    .await;
    assert!(
        email["rates"]["accepted"].as_f64().unwrap() > 0.0,
        "{email}"
    );
    assert_eq!(email["kinds"], json!(["email.send"]));
    assert_eq!(email["breaker"], "closed");
    assert_eq!(email["workers"][0]["capacity"], 64);
    assert_eq!(
        email["broker"]["normal"],
        json!({"ready": 0, "consumers": 1})
    );
    let zero = json!({"scheduled": 0, "queued": 0, "running": 0, "retrying": 0, "dead": 0});
    assert_eq!(email["depth"], zero);
    let workers = dev.api.get("/v1/workers").await.expect(200);
    let me = &workers["items"][0];
    assert_eq!(me["pid"], dev.process.pid());
    assert_eq!(
        (&me["role"], &me["version"]),
        (&json!("dev"), &json!(env!("CARGO_PKG_VERSION")))
    );
    assert!(
        me["beat_age"].as_f64().unwrap() < 60.0
            && me["queues"] == json!(["email", "inventory", "payment"])
    );
    let (code, out, _) = dev.run(&["queues", "list", "email", "--json"]).await;
    assert_eq!((code, out.lines().count()), (Some(0), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_queue_is_named_with_what_was_meant() {
    let dev = Dev::start().await;
    for name in ["emial/pause", "emial/resume"] {
        let problem = switch(&dev, name, 404).await;
        assert_eq!(problem["code"], "no_such_queue");
        assert!(
            problem["detail"].as_str().unwrap().contains("`email`"),
            "{problem}"
        );
    }
    for odd in ["%ff/pause", "a%2Fb/pause", "Not%20A%20Name/resume"] {
        assert_eq!(
            switch(&dev, odd, 404).await["code"],
            "no_such_queue",
            "{odd}"
        );
    }
    let (code, ..) = dev.run(&["queues", "pause", "email", "emial"]).await;
    assert_eq!(code, Some(2));
    assert_eq!(
        queue(&dev, "email").await["paused"],
        Value::Null,
        "all or none"
    );
    for command in ["pause", "resume", "list"] {
        let (code, _, err) = dev.run(&["queues", command, "emial"]).await;
        assert!(code == Some(2) && err.contains("email"), "{command}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_queue_that_is_listed_can_be_paused() {
    let mut dev = Dev::start().await;
    let body = json!({"kind": "email.send", "payload": mail("x"), "delay": "1h"});
    dev.api.post("/v1/jobs", &body).await.expect(202);
    dev.process.term();
    assert!(dev.process.wait_exit(PATIENCE).await.success());
    // The queue is no longer in the file; its job is still there.
    let file = dev.dir.join("queues.toml");
    let text = include_str!("../../queues.toml");
    std::fs::write(&file, text.replace("[queues.email", "[queues.post")).unwrap();
    let dev = Dev::within(dev.dir).await;
    assert_eq!(queue(&dev, "email").await["depth"]["scheduled"], 1);
    let paused = switch(&dev, "email/pause", 200).await;
    assert_eq!(paused["paused"]["by"], "anonymous", "{paused}");
    assert_eq!(
        switch(&dev, "email/resume", 200).await["paused"],
        Value::Null
    );
}
