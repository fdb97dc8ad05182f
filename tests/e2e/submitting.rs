//! Idempotency keys and batches, in both modes.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::dev::Dev;

use crate::installation::{Installation, later};

/// 200 at once under one key are one job; keys used for something else meanwhile are refused,
/// and neither is in the way of anybody.
async fn two_hundred_identical_submissions_are_one_job(installation: &Installation) {
    let api = &installation.api;
    // A key that is taken, for submissions that must be refused in the same group commits.
    let taken = [("idempotency-key", "taken")];
    let first = api.post_with("/v1/jobs", &later("taken"), &taken).await;
    first.expect(202);
    let identical = join_all((0..200).map(|_| {
        let key = [("idempotency-key", "order-17")];
        async move { api.post_with("/v1/jobs", &later("once"), &key).await }
    }));
    let conflicting = join_all((0..50).map(|n| {
        let body = later(&format!("another {n}"));
        async move { api.post_with("/v1/jobs", &body, &taken).await }
    }));
    let keyless = join_all((0..50).map(|n| {
        let body = later(&format!("keyless {n}"));
        async move { api.post("/v1/jobs", &body).await }
    }));
    let (identical, conflicting, keyless) = futures::join!(identical, conflicting, keyless);
    let replays = identical
        .iter()
        .filter(|answer| answer.header("idempotent-replayed") == "true")
        .count();
    assert_eq!(replays, 199);
    let ids: BTreeSet<String> = identical
        .into_iter()
        .map(|answer| id(&answer.expect(202)))
        .collect();
    assert_eq!(ids.len(), 1);
    for answer in conflicting {
        assert_eq!(answer.expect(422)["code"], "idempotency_key_reused");
    }
    for answer in keyless {
        answer.expect(202);
    }
    assert_eq!(installation.jobs().await.len(), 1 + 1 + 50);
}

/// The same said differently is the same; another value is not, however close.
async fn bodies_are_compared_by_what_they_say(installation: &Installation) {
    let client = crate::support::http::bare();
    let url = format!("{}/v1/jobs", installation.url);
    let send = async |key: &str, body: &str| {
        let request = client.post(&url).header("content-type", "application/json");
        let answer = request
            .header("idempotency-key", key)
            .body(body.to_owned())
            .send()
            .await;
        let answer = answer.unwrap();
        let replayed = answer.headers().contains_key("idempotent-replayed");
        (answer.status().as_u16(), replayed)
    };
    let body = r#"{"kind":"email.send","payload":{"to":["a@example.com"],"subject":"é","text":"1"},"max_attempts":3,"delay":"1h"}"#;
    assert_eq!(send("canonical", body).await, (202, false));
    let otherwise = r#" {"delay":"1h", "max_attempts" : 3,
        "payload":{"text":"\u0031","subject":"\u00e9","to":[ "a@example.com" ]},"kind":"email\u002esend"}"#;
    assert_eq!(send("canonical", otherwise).await, (202, true));
    for (from, to) in [
        ("\"1\"", "\"1 \""),
        ("\"é\"", "\"e\u{301}\""),
        (":3", ":4"),
        ("\"1h\"", "\"60m\""),
        ("\"kind\"", "\"priority\":\"normal\",\"kind\""),
    ] {
        let other = body.replacen(from, to, 1);
        assert_ne!(other, body);
        assert_eq!(send("canonical", &other).await, (422, false), "{other}");
    }
}

async fn batches_are_taken_whole_or_not_at_all(installation: &Installation) {
    let api = &installation.api;
    let before = installation.jobs().await.len();
    let keyed = |subject: &str, key: &str| {
        let mut job = later(subject);
        job["idempotency_key"] = key.into();
        job
    };
    let batch = json!([
        later("a"),
        keyed("b", "batch-b"),
        keyed("b", "batch-b"),
        keyed("c", "batch-c")
    ]);
    let answer = api.post("/v1/jobs/batch", &batch).await.expect(202);
    let items = answer["items"].as_array().unwrap();
    let replayed: Vec<bool> = items
        .iter()
        .map(|item| item["replayed"].as_bool().unwrap())
        .collect();
    assert_eq!(replayed, [false, false, true, false]);
    assert_eq!(items[1]["id"], items[2]["id"]);
    assert_eq!(items[0]["job"]["payload"]["subject"], "a");
    assert_eq!(items[3]["job"]["state"], "scheduled");
    // A single submission under the same key is the same job: the key is no part of the body.
    let single = api
        .post_with("/v1/jobs", &later("c"), &[("idempotency-key", "batch-c")])
        .await;
    assert_eq!(single.header("idempotent-replayed"), "true");
    assert_eq!(single.expect(202)["id"], items[3]["id"]);
    let again = api.post("/v1/jobs/batch", &batch).await.expect(202);
    assert_eq!(again["items"][1]["id"], items[1]["id"]);
    assert_eq!(again["items"][1]["replayed"], true);
    assert_eq!(
        installation.jobs().await.len(),
        before + 4,
        "the one without a key is new"
    );

    // One key for something else: nothing at all.
    let conflict = json!([later("d"), keyed("not b", "batch-b"), keyed("e", "batch-e")]);
    let refused = api.post("/v1/jobs/batch", &conflict).await.expect(422);
    assert_eq!(refused["code"], "idempotency_key_reused");
    assert_eq!(
        refused["errors"][0]["pointer"], "/1/idempotency_key",
        "{refused}"
    );
    let free = api
        .post("/v1/jobs/batch", &json!([keyed("not e", "batch-e")]))
        .await;
    free.expect(202);

    let mut wrong: Vec<Value> = (0..10).map(|n| later(&n.to_string())).collect();
    wrong[3]["payload"]["to"] = json!("nobody");
    wrong[5]["kind"] = json!("email.sned");
    wrong[5]["colour"] = json!("red");
    wrong[9] = json!(17);
    let refused = api.post("/v1/jobs/batch", &json!(wrong)).await.expect(422);
    let pointers: BTreeSet<&str> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    let expected = BTreeSet::from(["/3/payload/to", "/5/kind", "/5/colour", "/9"]);
    assert_eq!(pointers, expected, "{refused}");
    for error in refused["errors"].as_array().unwrap() {
        let unknown = error["pointer"] == "/5/kind";
        let code = if unknown { "unknown_kind" } else { "invalid" };
        assert_eq!(error["code"], code, "{error}");
    }
    assert_eq!(
        installation.jobs().await.len(),
        before + 5,
        "something was accepted"
    );
}

async fn batches_of_every_form_and_size(installation: &Installation) {
    let client = crate::support::http::bare();
    let url = format!("{}/v1/jobs/batch", installation.url);
    let send = async |media: &str, body: String| {
        let request = client.post(&url).header("content-type", media).body(body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap())
    };
    let ndjson = "application/x-ndjson";
    let line = later("a line").to_string();
    let (status, answer) = send(ndjson, format!("{line}\n\r\n{line}\r\n{line}")).await;
    assert_eq!(
        (status, answer["items"].as_array().unwrap().len()),
        (202, 3)
    );
    let (status, problem) = send(ndjson, format!("{line}\n\n{{\"kind\": oops}}\n")).await;
    assert_eq!((status, &problem["code"]), (400, &json!("malformed_json")));
    assert_eq!(
        (&problem["line"], &problem["column"]),
        (&json!(3), &json!(10)),
        "{problem}"
    );
    let twice = line.replacen('{', "{\"kind\":\"email.send\",", 1);
    let (status, problem) = send(ndjson, format!("{line}\n{twice}")).await;
    assert_eq!(status, 422);
    assert_eq!(problem["errors"][0]["pointer"], "/1/kind", "{problem}");
    // Nothing hides what is wrong elsewhere.
    let bad = line.replacen("ada@example.com", "\\u0020", 1);
    let bodies = [
        (
            ndjson,
            [&line, &twice, &bad, &twice].map(String::as_str).join("\n"),
        ),
        (
            "application/json",
            format!("[{line},{twice},{bad},{twice}]"),
        ),
    ];
    for (media, body) in bodies {
        let (status, problem) = send(media, body).await;
        assert_eq!(status, 422, "{problem}");
        let errors = problem["errors"].as_array().unwrap();
        let pointers = errors.iter().map(|e| e["pointer"].as_str().unwrap());
        let expected = ["/1/kind", "/2/payload/to/0", "/3/kind"];
        assert_eq!(pointers.collect::<Vec<_>>(), expected, "{media}");
    }
    let mut large = later("large");
    large["payload"]["text"] = "x".repeat(1 << 20).into();
    let (status, problem) = send("application/json", json!([large]).to_string()).await;
    assert_eq!((status, &problem["code"]), (422, &json!("invalid_job")));
    let error = &problem["errors"][0];
    assert_eq!(
        (&error["pointer"], &error["code"]),
        (&json!("/0/payload"), &json!("too_large"))
    );
    let (_, problem) = send(ndjson, format!("{line}\n").repeat(5000)).await;
    let said = problem["errors"][0]["message"].as_str().unwrap();
    assert!(said.contains("more than 1000"), "{said}");
    let many = |n: usize| format!("[{}]", vec![line.as_str(); n].join(","));
    assert_eq!(send("application/json", many(1000)).await.0, 202);
    for body in [
        many(1001),
        "[]".to_owned(),
        "{}".to_owned(),
        "[[]]".to_owned(),
        "7".to_owned(),
    ] {
        let (status, problem) = send("application/json", body).await;
        assert_eq!(
            (status, &problem["code"]),
            (422, &json!("invalid_job")),
            "{problem}"
        );
    }
    assert_eq!(send(ndjson, String::new()).await.0, 422);
    assert_eq!(send("text/plain", many(1)).await.0, 415);
    let (status, problem) = send("application/json", " ".repeat(9 << 20)).await;
    assert_eq!((status, &problem["code"]), (413, &json!("body_too_large")));
    let header = client
        .post(&url)
        .header("idempotency-key", "x")
        .json(&json!([later("x")]));
    let header = header.send().await.unwrap();
    assert_eq!(
        header.status(),
        422,
        "a header's key has no job that it could belong to"
    );
}

async fn all(installation: &Installation) {
    two_hundred_identical_submissions_are_one_job(installation).await;
    bodies_are_compared_by_what_they_say(installation).await;
    batches_are_taken_whole_or_not_at_all(installation).await;
    batches_of_every_form_and_size(installation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_says_that_its_job_has_been_removed() {
    let dev = Dev::start().await;
    let key = [("idempotency-key", "order-1")];
    let job = dev.api.post_with("/v1/jobs", &later("x"), &key).await;
    let job = id(&job.expect(202));
    // What pruning does to a job that has come to its end.
    let file = dev.dir.join(".longshore/longshore.db");
    let options = SqliteConnectOptions::new().filename(file);
    let mut database = options.connect().await.unwrap();
    let removed = sqlx::query("DELETE FROM job").execute(&mut database).await;
    assert_eq!(removed.unwrap().rows_affected(), 1);
    let gone = dev.api.post_with("/v1/jobs", &later("x"), &key).await;
    let gone = gone.expect(410);
    assert_eq!(
        (&gone["code"], &gone["id"]),
        (&json!("job_removed"), &json!(job))
    );
    let other = dev.api.post_with("/v1/jobs", &later("y"), &key).await;
    assert_eq!(other.expect(422)["code"], "idempotency_key_reused");
    let mut item = later("x");
    item["idempotency_key"] = json!("order-1");
    let batch = dev
        .api
        .post("/v1/jobs/batch", &json!([item]))
        .await
        .expect(202);
    assert_eq!(
        batch,
        json!({"items": [{"id": job, "replayed": true, "job": null}]})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_idempotency_key_is_the_same_job() {
    let dev = Dev::start().await;
    let key = [("idempotency-key", "order-17")];
    let first = dev.api.post_with("/v1/jobs", &later("x"), &key).await;
    assert_eq!(first.header("idempotent-replayed"), "");
    let first = first.expect(202);
    let again =
        join_all((0..50).map(|_| async { dev.api.post_with("/v1/jobs", &later("x"), &key).await }))
            .await;
    for answer in again {
        assert_eq!(answer.header("idempotent-replayed"), "true");
        assert_eq!(answer.expect(202)["id"], first["id"]);
    }
    let other = later("y");
    let refused = dev
        .api
        .post_with("/v1/jobs", &other, &key)
        .await
        .expect(422);
    assert_eq!(refused["code"], "idempotency_key_reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_refused() {
    let dev = Dev::start().await;
    let long = "k".repeat(256);
    for key in ["", long.as_str(), "é"] {
        let header = [("idempotency-key", key)];
        let refused = dev.api.post_with("/v1/jobs", &later("x"), &header).await;
        assert_eq!(
            refused.expect(422)["code"],
            "invalid_idempotency_key",
            "{key}"
        );
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    let refused = dev.api.post_with("/v1/jobs", &later("x"), &twice).await;
    assert_eq!(refused.expect(422)["code"], "invalid_idempotency_key");
    for key in ["", long.as_str(), "é", " a", "a\n"] {
        let mut item = later("x");
        item["idempotency_key"] = json!(key);
        let refused = dev
            .api
            .post("/v1/jobs/batch", &json!([item]))
            .await
            .expect(422);
        assert_eq!(
            refused["errors"][0]["pointer"], "/0/idempotency_key",
            "{key:?}: {refused}"
        );
    }
    let longest = [("idempotency-key", &long[1..])];
    dev.api
        .post_with("/v1/jobs", &later("x"), &longest)
        .await
        .expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_batches_embedded() {
    all(&Installation::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_batches_on_rabbitmq_and_postgresql() {
    all(&Installation::served(None).await).await;
}

fn id(job: &Value) -> String {
    job["id"].as_str().unwrap().to_owned()
}
