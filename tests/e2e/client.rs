//! The library's client, and the command line that uses it against an intake elsewhere.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longshore::client::{Client, ClientError};
use longshore::job::{JobId, State};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::dev::{Dev, mail};
use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::program::{free_port, longshore};
use crate::support::wait::{PATIENCE, until};

fn client(dev: &Dev) -> Client {
    Client::new(&format!("http://127.0.0.1:{}", dev.port)).unwrap()
}

async fn jobs(dev: &Dev) -> Vec<Value> {
    let all = dev.api.get("/v1/jobs").await.expect(200);
    all["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_submitted_waited_for_and_read() {
    let dev = Dev::start().await;
    let client = client(&dev);
    let submit = || {
        client
            .submit_json("email.send", &mail("client"))
            .idempotency_key("order-17")
            .delay(Duration::from_millis(50))
            .tag("order-17")
            .high()
            .max_attempts(3)
    };
    let first = submit().await.unwrap();
    assert!(!first.replayed);
    let again = submit().await.unwrap();
    assert!(again.replayed && again.job.id == first.job.id);
    let ended = client.wait(first.job.id, PATIENCE).await.unwrap();
    assert_eq!(ended.state, State::Succeeded);
    assert_eq!(ended.tags, ["order-17"]);
    assert_eq!(ended.max_attempts, Some(3));
    let read = client.job(first.job.id).await.unwrap().unwrap();
    assert_eq!(read.attempts().len(), 1);
    assert!(client.job(JobId::new()).await.unwrap().is_none());
    let later = client.submit_json("email.send", &mail("later"));
    let later = later.delay(Duration::from_secs(3600)).await.unwrap();
    let waiting = client.wait(later.job.id, Duration::from_millis(20)).await;
    assert_eq!(waiting.unwrap().state, State::Scheduled);
    let batch = [mail("a"), mail("b")];
    let batch = batch
        .iter()
        .map(|mail| client.submit_json("email.send", mail));
    let accepted = client.submit_all(batch).await.unwrap();
    let ids: HashSet<JobId> = accepted.iter().map(|item| item.id).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(jobs(&dev).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_code_and_field_and_is_not_tried_again() {
    let dev = Dev::start().await;
    let client = client(&dev);
    let wrong = client.submit_json("email.send", &json!({"to": 5})).await;
    let wrong = wrong.unwrap_err();
    assert_eq!(wrong.code(), Some("invalid_job"), "{wrong}");
    let pointers: Vec<&str> = wrong
        .problem()
        .unwrap()
        .errors
        .iter()
        .map(|field| field.pointer.as_str())
        .collect();
    assert!(pointers.contains(&"/payload/to"), "{pointers:?}");
    let unknown = client
        .submit_json("email.sned", &json!({}))
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Some("unknown_kind"));
    let key = client
        .submit_json("email.send", &mail("k"))
        .idempotency_key("k\n");
    assert_eq!(
        key.await.unwrap_err().code(),
        Some("invalid_idempotency_key")
    );
    assert_eq!(jobs(&dev).await.len(), 0);
}

/// Forwards requests; of the first `cut` connections no byte of an answer comes back, though the
/// intake has given it.
async fn one_way(target: u16, cut: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut near, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                if number >= cut {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    return;
                }
                let (mut from_near, _) = near.split();
                let (mut from_far, mut to_far) = far.split();
                let mut answer = [0; 12];
                tokio::select! {
                    _ = tokio::io::copy(&mut from_near, &mut to_far) => {}
                    read = from_far.read_exact(&mut answer) => {
                        read.unwrap();
                        assert_eq!(&answer, b"HTTP/1.1 202");
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_makes_no_second_job() {
    let dev = Dev::start().await;
    let port = one_way(dev.port, 3).await;
    let client = Client::new(&format!("http://127.0.0.1:{port}")).unwrap();
    let mail = mail("once");
    let submitted = client.submit_json("email.send", &mail).await.unwrap();
    assert!(submitted.replayed, "the first try was accepted");
    let jobs = jobs(&dev).await;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0]["id"], submitted.job.id.to_string());
}

/// An intake that gives these answers, one a connection, the last one for ever; and the requests
/// that it got.
async fn scripted(answers: &'static [&'static str]) -> (Client, Arc<Mutex<Vec<String>>>) {
    let (url, requests) = scripted_at(answers).await;
    (Client::new(&url).unwrap(), requests)
}

async fn scripted_at(answers: &'static [&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jobs-api", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 64 * 1024];
            let mut length = 0;
            // Each submission ends with the payload that the test sends.
            let whole = |request: &[u8]| {
                let asks = request.starts_with(b"GET ") && request.ends_with(b"\r\n\r\n");
                asks || request.ends_with(b"}}")
            };
            while !whole(&request[..length]) {
                length += socket.read(&mut request[length..]).await.unwrap();
            }
            seen.lock()
                .unwrap()
                .push(String::from_utf8_lossy(&request[..length]).into_owned());
            let (head, body) = answers[number.min(answers.len() - 1)]
                .split_once('|')
                .unwrap();
            let answer = format!(
                "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, requests)
}

const JOB: &str = r#"202 Accepted|{"id": "01890a5d-ac96-774b-bcce-b302099a8057", "kind": "a.b",
    "queue": "a", "state": "queued", "payload": {}, "priority": "normal", "tags": [], "attempt": 0,
    "max_attempts": null, "run_at": null, "created_at": "2026-01-01T00:00:00Z",
    "started_at": null, "finished_at": null, "result": null, "error": null, "attempts": [],
    "waiting_for": null, "a_field_of_a_later_version": 1}"#;

#[tokio::test]
async fn what_passes_is_tried_again_with_one_key_and_when_asked_to() {
    let (client, requests) = scripted(&[
        "503 Service Unavailable\r\nretry-after: 1|{\"status\": 503, \"code\": \"store_unavailable\"}",
        "429 Too Many Requests\r\nretry-after: 0|",
        "502 Bad Gateway|<html>",
        JOB,
    ])
    .await;
    let client = client.key("secret-key");
    let began = Instant::now();
    let submitted = client.submit_json("a.b", &json!({})).await.unwrap();
    assert_eq!(submitted.job.state, State::Queued);
    assert!(began.elapsed() >= Duration::from_secs(1), "Retry-After");
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 4);
    let header = |request: &str, name: &str| {
        let line = request.lines().find(|line| line.starts_with(name)).unwrap();
        line.to_owned()
    };
    let keys: HashSet<String> = requests
        .iter()
        .map(|request| header(request, "idempotency-key:"))
        .collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert!(requests[0].starts_with("POST /jobs-api/v1/jobs HTTP/1.1"));
    assert_eq!(
        header(&requests[0], "authorization"),
        "authorization: Bearer secret-key"
    );
    assert!(!format!("{client:?}").contains("secret-key"));
}

/// Whoever waits can ask for the job again.
#[tokio::test(flavor = "multi_thread")]
async fn when_waiting_fails_the_job_is_still_named() {
    let (url, requests) = scripted_at(&[
        JOB,
        "404 Not Found|{\"status\": 404, \"code\": \"no_such_job\", \"detail\": \"gone\"}",
    ])
    .await;
    let away = TestDir::new("away");
    let mut submit = longshore(["submit", "a.b", "{}", "--wait", "--url", &url])
        .within(away.path())
        .start();
    assert_eq!(submit.wait_exit(PATIENCE).await.code(), Some(1));
    let said = submit.stderr();
    let named = "accepted as 01890a5d-ac96-774b-bcce-b302099a8057; waiting failed: gone";
    assert!(said.contains(named), "{said}");
    assert_eq!(requests.lock().unwrap().len(), 2);
}

/// What the client asks for is what the description says may be asked for.
#[tokio::test(flavor = "multi_thread")]
async fn waits_as_the_description_says() {
    const ENDED: &str = concat!(
        r#"200 OK|{"id": "01890a5d-ac96-774b-bcce-b302099a8057", "kind": "a.b", "queue": "a","#,
        r#""state": "succeeded", "payload": {}, "priority": "normal", "tags": [], "attempt": 1,"#,
        r#""max_attempts": null, "run_at": null, "created_at": "2026-01-01T00:00:00Z","#,
        r#""started_at": null, "finished_at": null, "result": null, "error": null,"#,
        r#""attempts": [], "waiting_for": null}"#
    );
    let dev = Dev::start().await;
    let described = dev.api.get("/openapi.json").await.expect(200);
    let parameters = &described["paths"]["/v1/jobs/{id}"]["get"]["parameters"];
    let wait = parameters.as_array().unwrap().iter();
    let wait = wait.clone().find(|one| one["name"] == "wait").unwrap();
    let schema = jsonschema::validator_for(&wait["schema"]).unwrap();
    let (client, requests) = scripted(&[ENDED]).await;
    for limit in [0, 7, 9_999, 10_000, 29_999, 30_000, 120_000] {
        let limit = Duration::from_millis(limit);
        client.wait(JobId::new(), limit).await.unwrap();
    }
    for request in requests.lock().unwrap().iter() {
        let path = request.split(' ').nth(1).unwrap();
        let sent = path.split("?wait=").nth(1).unwrap();
        assert!(schema.is_valid(&sent.into()), "{sent}");
    }
    for refused in ["60001ms", "99999ms", "61s"] {
        assert!(!schema.is_valid(&refused.into()), "{refused}");
    }
}

#[tokio::test]
async fn it_gives_up_at_its_deadline_and_says_what_it_met() {
    let (client, requests) = scripted(&[
        "503 Service Unavailable|{\"status\": 503, \"code\": \"store_unavailable\", \"detail\": \"silent\"}",
    ])
    .await;
    let client = client.deadline(Duration::from_millis(700));
    let error = client.submit_json("a.b", &json!({})).await.unwrap_err();
    assert_eq!(error.code(), Some("store_unavailable"));
    let ClientError::GaveUp { tries, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(
        *tries >= 2 && error.to_string().contains("silent"),
        "{error}"
    );
    assert_eq!(requests.lock().unwrap().len(), *tries as usize);
    // Nobody there at all.
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let client = Client::new(&nobody)
        .unwrap()
        .deadline(Duration::from_millis(300));
    let error = client.job(JobId::new()).await.unwrap_err();
    assert!(matches!(error, ClientError::GaveUp { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_key_does_not_leave_the_machine_unencrypted() {
    for (url, refused) in [
        ("http://jobs.invalid:7070", true),
        ("http://10.255.255.1", true),
        ("http://127.0.0.1.jobs.invalid", true),
        ("http://127.0.0.1:1", false),
        ("http://[::1]:1", false),
        ("http://localhost:1", false),
        ("https://jobs.invalid", false),
    ] {
        let client = Client::new(url).unwrap().deadline(Duration::from_millis(1));
        let keyless = client.job(JobId::new()).await.unwrap_err();
        assert!(!matches!(keyless, ClientError::PlainHttp(_)), "{url}");
        let keyed = client.key("lsk_x").job(JobId::new()).await.unwrap_err();
        let plain = matches!(keyed, ClientError::PlainHttp(_));
        assert_eq!(plain, refused, "{url}: {keyed}");
    }
    for url in [
        "",
        "jobs.example.org",
        "ftp://x",
        "http://u:p@x",
        "http://x/?a",
        "http://x/#a",
    ] {
        let error = Client::new(url).unwrap_err();
        assert!(matches!(error, ClientError::Url(_)), "{url}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_submits_to_an_intake_elsewhere() {
    let dir = TestDir::new("dev");
    let port = free_port();
    let admin = "an-admin-key-of-forty-characters-or-so-1";
    let _dev = longshore(["dev"])
        .within(dir.path())
        .env("LONGSHORE_LISTEN", format!("127.0.0.1:{port}"))
        .env("LONGSHORE_ADMIN_KEY", admin)
        .start();
    let api = Api::new(format!("http://127.0.0.1:{port}"));
    until("dev is ready", PATIENCE, async || {
        api.status("/readyz").await?.is_success().then_some(())
    })
    .await;
    // In a folder without a store.
    let away = TestDir::new("away");
    let run = async |arguments: &[&str], key: &str| {
        let mut command = longshore(["submit", "email.send"].iter().chain(arguments))
            .within(away.path())
            .env("LONGSHORE_URL", format!("http://127.0.0.1:{port}"))
            .env("LONGSHORE_KEY", key)
            .start();
        let code = command.wait_exit(PATIENCE).await.code();
        (code, command.stdout(), command.stderr())
    };
    let mail = mail("from elsewhere").to_string();
    let (code, out, err) = run(&[&mail, "--wait", "--json"], admin).await;
    assert_eq!(code, Some(0), "{err}");
    let job: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(job["state"], "succeeded");
    let table: [(&[&str], &str, &str); 5] = [
        (&[&mail, "--delay", "soon"], admin, "--delay: "),
        (&["{\"to\": 5}"], admin, "PAYLOAD /to: "),
        (&[&mail, "--max-attempts", "0"], admin, "--max-attempts: "),
        (&[&mail], "wrong", "LONGSHORE_KEY"),
        (&[&mail], "", "LONGSHORE_KEY"),
    ];
    for (arguments, key, text) in table {
        let (code, _, err) = run(arguments, key).await;
        assert_eq!(code, Some(2), "{arguments:?}: {err}");
        assert!(err.contains(text), "{arguments:?}: {err}");
        assert!(!err.contains(admin), "{err}");
    }
}
