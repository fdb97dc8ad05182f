use serde_json::{Value, json};

use crate::dev::{Dev, mail};

fn job() -> Value {
    json!({"kind": "email.send", "payload": mail("x")})
}

fn with(key: &str, value: Value) -> Value {
    let mut body = job();
    body[key] = value;
    body
}

fn payload_with(key: &str, value: Value) -> Value {
    let mut body = job();
    body["payload"][key] = value;
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_a_problem_that_names_the_field() {
    let dev = Dev::start().await;
    let table = [
        (
            "unknown kind",
            json!({"kind": "email.sned", "payload": {}}),
            "unknown_kind",
            "/kind",
            "email.send",
        ),
        (
            "bad kind",
            json!({"kind": "Not A Kind", "payload": {}}),
            "invalid_job",
            "/kind",
            "lower-case",
        ),
        (
            "no kind",
            json!({"payload": {}}),
            "invalid_job",
            "/kind",
            "missing",
        ),
        (
            "no payload",
            json!({"kind": "email.send"}),
            "invalid_job",
            "/payload",
            "missing",
        ),
        (
            "kind of wrong type",
            json!({"kind": 7, "payload": {}}),
            "invalid_job",
            "/kind",
            "string",
        ),
        (
            "unknown field",
            with("priorty", json!("high")),
            "invalid_job",
            "/priorty",
            "did you mean `priority`?",
        ),
        (
            "bad priority",
            with("priority", json!("urgent")),
            "invalid_job",
            "/priority",
            "high",
        ),
        (
            "negative delay",
            with("delay", json!("-5s")),
            "invalid_job",
            "/delay",
            "may not be negative",
        ),
        (
            "delay without unit",
            with("delay", json!("5")),
            "invalid_job",
            "/delay",
            "duration",
        ),
        (
            "no time zone",
            with("run_at", json!("2030-01-01T00:00:00")),
            "invalid_job",
            "/run_at",
            "time zone",
        ),
        (
            "both times",
            json!({"kind": "email.send", "payload": mail("x"), "delay": "5s", "run_at": "2030-01-01T00:00:00Z"}),
            "invalid_job",
            "/delay",
            "not both",
        ),
        (
            "half an attempt",
            with("max_attempts", json!(1.5)),
            "invalid_job",
            "/max_attempts",
            "a whole number from 1 to 1000",
        ),
        (
            "too long a tag",
            with("tags", json!(["x".repeat(101)])),
            "invalid_job",
            "/tags/0",
            "1 to 100",
        ),
        (
            "too many tags",
            with("tags", json!(vec!["x"; 21])),
            "invalid_job",
            "/tags",
            "at most 20",
        ),
        (
            "NUL in a tag",
            with("tags", json!(["a\u{0}b"])),
            "invalid_job",
            "/tags/0",
            "NUL",
        ),
        (
            "a key in the body",
            with("idempotency_key", json!("k")),
            "invalid_job",
            "/idempotency_key",
            "header",
        ),
        (
            "no attempts",
            with("max_attempts", json!(0)),
            "invalid_job",
            "/max_attempts",
            "from 1",
        ),
        (
            "empty tag",
            with("tags", json!(["a", ""])),
            "invalid_job",
            "/tags/1",
            "tag",
        ),
        (
            "payload type",
            with("payload", json!([])),
            "invalid_job",
            "/payload",
            "",
        ),
        (
            "to of wrong type",
            payload_with("to", json!("a@example.com")),
            "invalid_job",
            "/payload/to",
            "expected an array, found a string",
        ),
        (
            "recipient of wrong type",
            payload_with("to", json!(["a@example.com", 5])),
            "invalid_job",
            "/payload/to/1",
            "string",
        ),
        (
            "no recipient",
            payload_with("to", json!([])),
            "invalid_job",
            "/payload/to",
            "",
        ),
        (
            "bad mailbox",
            payload_with("to", json!(["not a mailbox"])),
            "invalid_job",
            "/payload/to/0",
            "",
        ),
        (
            "unknown payload field",
            payload_with("subjekt", json!("x")),
            "invalid_job",
            "/payload/subjekt",
            "did you mean `subject`?",
        ),
    ];
    let both = json!({"kind": "email.sned", "payload": {}, "colour": "red"});
    let both = dev.api.post("/v1/jobs", &both).await.expect(422);
    assert_eq!(both["errors"][0]["code"], "unknown_kind", "{both}");
    for (name, body, code, pointer, text) in table {
        let answer = dev.api.post("/v1/jobs", &body).await;
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{name}"
        );
        let problem = answer.expect(422);
        assert_eq!(problem["code"], code, "{name}: {problem}");
        assert_eq!(problem["status"], 422, "{name}");
        assert_eq!(
            problem["errors"][0]["pointer"], pointer,
            "{name}: {problem}"
        );
        let own = if code == "unknown_kind" {
            code
        } else {
            "invalid"
        };
        assert_eq!(problem["errors"][0]["code"], own, "{name}");
        let message = problem["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(text), "{name}: {message}");
    }
    let none = dev.api.get("/v1/jobs").await.expect(200);
    assert_eq!(none["items"], json!([]), "something was accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_request_is_refused_in_its_own_way() {
    let dev = Dev::start().await;
    let url = format!("http://127.0.0.1:{}/v1/jobs", dev.port);
    let client = crate::support::http::bare();
    let send = async |body: Vec<u8>, content: &str| {
        let request = client.post(&url).header("content-type", content).body(body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap())
    };
    let (status, problem) = send(b"{\n  \"kind\": oops}".to_vec(), "application/json").await;
    assert_eq!((status, &problem["code"]), (400, &json!("malformed_json")));
    assert_eq!(
        (&problem["line"], &problem["column"]),
        (&json!(2), &json!(11)),
        "{problem}"
    );
    let (status, problem) = send(job().to_string().into_bytes(), "text/plain").await;
    assert_eq!(
        (status, &problem["code"]),
        (415, &json!("unsupported_media_type"))
    );
    let huge = payload_with("text", json!("x".repeat(3 << 20)));
    let (status, problem) = send(huge.to_string().into_bytes(), "application/json").await;
    assert_eq!((status, &problem["code"]), (413, &json!("body_too_large")));
    assert_eq!(problem["errors"][0]["pointer"], "/payload", "{problem}");
    // A payload over 1 MiB in a body that is not too large.
    let mut huge = payload_with("text", json!("x".repeat(1 << 20)));
    huge["kind"] = json!("email.sned");
    let (status, problem) = send(huge.to_string().into_bytes(), "application/json").await;
    assert_eq!((status, &problem["code"]), (413, &json!("body_too_large")));
    let error = &problem["errors"][0];
    assert_eq!(
        (&error["pointer"], &error["code"]),
        (&json!("/payload"), &json!("too_large"))
    );
    let text = job().to_string();
    for content in ["application/json; charset=utf-8", "application/vnd.a+json"] {
        let (status, job) = send(text.clone().into_bytes(), content).await;
        assert_eq!(status, 202, "{content}: {job}");
    }
    let nul = text.replace("Hello.", "a\\u0000b");
    assert_eq!(send(nul.into_bytes(), "application/json").await.0, 202);
    let lone = text.replace("Hello.", "a\\ud800b");
    let (status, problem) = send(lone.into_bytes(), "application/json").await;
    assert_eq!((status, &problem["code"]), (400, &json!("malformed_json")));
    assert!(
        problem["detail"].as_str().unwrap().contains("surrogate"),
        "{problem}"
    );
    let twice = text.replace("\"text\":", "\"text\":\"\",\"text\":");
    let (status, problem) = send(twice.into_bytes(), "application/json").await;
    assert_eq!((status, &problem["code"]), (422, &json!("invalid_job")));
    assert_eq!(
        problem["errors"][0]["pointer"], "/payload/text",
        "{problem}"
    );
    for body in [&b""[..], b"\xff\xfe", b"[[[[[[", b"\"kind\"", b"null"] {
        let (status, problem) = send(body.to_vec(), "application/json").await;
        assert!(matches!(status, 400 | 422), "{body:?}: {problem}");
    }
    let nested = "[".repeat(100_000);
    let (status, problem) = send(nested.into_bytes(), "application/json").await;
    assert_eq!((status, &problem["code"]), (400, &json!("malformed_json")));
    assert!(
        problem["detail"].as_str().unwrap().contains("64 levels"),
        "{problem}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_is_told_at_once() {
    let dev = Dev::start().await;
    let body = json!({
        "kind": "email.send",
        "payload": {"to": [5, "a@example.com", null], "subjekt": "x"},
        "delay": "-1s",
        "tags": ["", "fine"],
        "prority": "high",
        "max_attempts": "many",
    });
    let problem = dev.api.post("/v1/jobs", &body).await.expect(422);
    let mut pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    let expected = [
        "/delay",
        "/max_attempts",
        "/payload/subjekt",
        "/payload/to/0",
        "/payload/to/2",
        "/prority",
        "/tags/0",
    ];
    assert_eq!(pointers, expected, "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_tell_what_they_take_and_their_examples_are_taken() {
    let dev = Dev::start().await;
    let kinds = dev.api.get("/v1/kinds").await.expect(200);
    let kinds = kinds["items"].as_array().unwrap();
    assert!(!kinds.is_empty());
    for kind in kinds {
        let name = kind["kind"].as_str().unwrap();
        assert_eq!(kind["schema"]["type"], "object", "{name}");
        let body = json!({"kind": name, "payload": kind["example"], "delay": "1h"});
        dev.api.post("/v1/jobs", &body).await.expect(202);
    }
}
