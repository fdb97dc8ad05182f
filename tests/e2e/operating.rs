//! What operators do, over HTTP and from the command line, embedded.

use longshore::job::{ErrorClass, JobError, JobId};
use longshore::store::sqlite::SqliteStore;
use longshore::store::{DeadLetter, NewProcess, Role, Store};
use serde_json::{Value, json};

use crate::dev::{Dev, mail};
use crate::support::wait::{PATIENCE, until};

/// Dead jobs, each refused for its own reason: put where `dev` keeps its jobs.
pub async fn dead(dev: &Dev, count: usize) -> Vec<String> {
    let payload = mail("Refused").to_string().into_bytes();
    dead_with(dev, std::iter::repeat_n(&payload[..], count)).await
}

/// Dead mails with these payloads.
pub async fn dead_with<'p>(dev: &Dev, payloads: impl IntoIterator<Item = &'p [u8]>) -> Vec<String> {
    let file = dev.dir.join(".longshore/longshore.db");
    let store = SqliteStore::open(&file).await.unwrap();
    let me = NewProcess::this(Role::Operator, Vec::new());
    let me = store.register(&me).await.unwrap();
    let letter = |(n, payload): (usize, &[u8])| DeadLetter {
        id: JobId::new(),
        kind: "email.send".to_owned(),
        queue: "email".parse().unwrap(),
        payload: payload.to_vec(),
        error: JobError::new(
            ErrorClass::Permanent,
            "refused",
            &format!("order {n} refused"),
        ),
        unique: None,
    };
    let letters: Vec<DeadLetter> = payloads.into_iter().enumerate().map(letter).collect();
    store.insert_dead(me, &letters).await.unwrap();
    store.retire(me).await.unwrap();
    store.close().await;
    letters.iter().map(|letter| letter.id.to_string()).collect()
}

async fn later(dev: &Dev) -> String {
    let body = json!({"kind": "email.send", "payload": mail("Later"), "delay": "1h"});
    let job = dev.api.post("/v1/jobs", &body).await.expect(202);
    job["id"].as_str().unwrap().to_owned()
}

fn ids(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|job| job["id"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_and_sent_back_with_another_payload() {
    let dev = Dev::start().await;
    let id = later(&dev).await;
    let requeue = format!("/v1/jobs/{id}/requeue");
    let cancel = format!("/v1/jobs/{id}/cancel");
    let refused = dev.api.post(&requeue, &json!({})).await.expect(409);
    assert_eq!(refused["code"], "not_requeueable", "{refused}");
    assert_eq!(refused["state"], "scheduled", "{refused}");
    for _ in 0..2 {
        let job = dev.api.post(&cancel, &json!({})).await.expect(200);
        assert_eq!(job["state"], "cancelled", "{job}");
    }
    let wrong = json!({"payload": {"to": [], "subject": 7}});
    let refused = dev.api.post(&requeue, &wrong).await.expect(422);
    let pointers = refused["errors"].to_string();
    assert!(pointers.contains("/payload/"), "{refused}");
    let refused = dev.api.post(&requeue, &json!({"paylod": {}})).await;
    let refused = refused.expect(422);
    assert!(
        refused["detail"].to_string().contains("`payload`"),
        "{refused}"
    );
    let edited = json!({"payload": mail("Now")});
    let job = dev.api.post(&requeue, &edited).await.expect(202);
    assert_eq!(job["payload"]["subject"], "Now", "{job}");
    assert_eq!(job["original_payload"]["subject"], "Later", "{job}");
    let path = format!("/v1/jobs/{id}?wait=30s");
    let job = dev.api.get(&path).await.expect(200);
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(job["edited_by"], "anonymous", "{job}");
    let refused = dev.api.post(&cancel, &json!({})).await.expect(409);
    assert_eq!(refused["code"], "not_cancellable", "{refused}");
    let nobody = "/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057/cancel";
    dev.api.post(nobody, &json!({})).await.expect(404);

    let id = later(&dev).await;
    let (code, out, _) = dev.run(&["jobs", "cancel", &id]).await;
    assert_eq!((code, out), (Some(0), format!("{id} cancelled\n")));
    let payload = mail("From the shell").to_string();
    let (code, out, err) = dev
        .run(&["jobs", "requeue", &id, "--payload", &payload, "--json"])
        .await;
    assert_eq!(code, Some(0), "{err}");
    let job: Value = serde_json::from_str(&out).unwrap();
    assert!(
        job["edited_by"].as_str().unwrap().starts_with("cli:"),
        "{job}"
    );
    let twice = r#"{"to": ["a@example.com"], "subject": "1", "subject": "2", "text": "x"}"#;
    for wrong in ["{}", twice] {
        let (code, _, err) = dev.run(&["jobs", "requeue", &id, "--payload", wrong]).await;
        assert_eq!(code, Some(2), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_filters_and_pages_of_their_own() {
    let dev = Dev::start().await;
    let dead = dead(&dev, 3).await;
    later(&dev).await;
    let first = dev.api.get("/v1/dead-letters?limit=2").await.expect(200);
    assert_eq!(ids(&first), [dead[2].as_str(), &dead[1]]);
    let job = &first["items"][0];
    assert!(job.get("attempts").is_none(), "left out of lists: {job}");
    assert!(job["max_attempts"].is_u64(), "{job}");
    let cursor = first["next_cursor"].as_str().unwrap();
    let path = format!("/v1/dead-letters?limit=2&cursor={cursor}");
    let rest = dev.api.get(&path).await.expect(200);
    assert_eq!(ids(&rest), [dead[0].as_str()]);
    assert!(rest["next_cursor"].is_null());
    for foreign in [
        format!("/v1/jobs?limit=2&cursor={cursor}"),
        format!("/v1/dead-letters?tag=n1&cursor={cursor}"),
        format!("/v1/operations?cursor={cursor}"),
        format!("/v1/jobs?cursor={}", dead[0]),
    ] {
        let refused = dev.api.get(&foreign).await.expect(422);
        assert_eq!(refused["parameter"], "cursor", "{foreign}: {refused}");
    }
    for (query, found) in [
        ("error=order%201", 1),
        ("tag=n1&tag=n2", 0),
        ("state=dead&state=scheduled", 4),
        ("code=refused&kind=email.send", 3),
        ("error=ORDER", 3),
        (
            "since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00%2B01:00",
            0,
        ),
        ("queue=demo&queue=email", 4),
    ] {
        let page = dev.api.get(&format!("/v1/jobs?{query}")).await.expect(200);
        assert_eq!(ids(&page).len(), found, "{query}");
    }
    for (query, parameter) in [
        ("since=2020-01-01T00:00:00", "since"),
        ("tag=", "tag"),
        ("fingerprint=xyz", "fingerprint"),
        ("state=done", "state"),
        ("limit=0", "limit"),
        ("tga=x", "tga"),
    ] {
        let refused = dev.api.get(&format!("/v1/jobs?{query}")).await.expect(422);
        assert_eq!(refused["parameter"], parameter, "{query}: {refused}");
    }
    let groups = dev.api.get("/v1/dead-letters/groups").await.expect(200);
    let group = &groups["items"][0];
    assert_eq!(group["count"], 3, "{groups}");
    let print = group["fingerprint"].as_str().unwrap();
    let path = format!("/v1/dead-letters?fingerprint={print}");
    assert_eq!(ids(&dev.api.get(&path).await.expect(200)).len(), 3);
    let (code, out, _) = dev.run(&["dlq", "list", "--group"]).await;
    assert!(code == Some(0) && out.contains(print), "{out}");
    let (_, out, _) = dev
        .run(&["jobs", "list", "--error", "order 1", "--json"])
        .await;
    let job: Value = serde_json::from_str(&out).unwrap();
    assert!(job.get("attempts").is_none() && job["max_attempts"].is_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_operations_are_begun_watched_and_stopped() {
    let dev = Dev::start().await;
    let dead = dead(&dev, 4).await;
    let post = async |what: &str, body: Value| {
        let path = format!("/v1/dead-letters/{what}");
        dev.api.post(&path, &body).await
    };
    let refused = post("requeue", json!({})).await.expect(422);
    assert_eq!(refused["code"], "invalid_request", "{refused}");
    assert!(refused["detail"].to_string().contains("all"), "{refused}");
    let wrong = json!({"qeue": "email", "rate": -1});
    let refused = post("purge", wrong).await.expect(422);
    assert_eq!(refused["errors"].as_array().unwrap().len(), 2, "{refused}");
    let dry = json!({"queue": "email", "dry_run": true, "limit": 3});
    assert_eq!(post("requeue", dry).await.expect(200)["matched"], 3);

    // So slow that it is far from its end when it is stopped.
    let slow = json!({"kind": ["email.send"], "rate": 0.001});
    let begun = post("purge", slow).await;
    let path = begun.header("location").to_owned();
    let begun = begun.expect(202);
    assert_eq!(
        (&begun["matched"], &begun["state"]),
        (&json!(4), &json!("running"))
    );
    until("its first job is purged", PATIENCE, async || {
        let stands = dev.api.get(&path).await.expect(200);
        (stands["done"] == 1).then_some(())
    })
    .await;
    dev.api
        .get(&format!("/v1/jobs/{}", dead[0]))
        .await
        .expect(404);
    for (command, state) in [
        ("pause", "paused"),
        ("resume", "running"),
        ("cancel", "cancelled"),
    ] {
        let path = format!("{path}/{command}");
        let stands = dev.api.post(&path, &json!({})).await.expect(200);
        assert_eq!(stands["state"], state);
        assert_eq!(stands["changed_by"], "anonymous");
    }
    let refused = dev.api.post(&format!("{path}/resume"), &json!({})).await;
    assert_eq!(refused.expect(409)["code"], "operation_ended");
    let all = dev.api.get("/v1/operations").await.expect(200);
    assert_eq!(ids(&all).len(), 1);
    let nobody = "/v1/operations/01890a5d-ac96-774b-bcce-b302099a8057";
    let unknown = dev.api.get(nobody).await.expect(404);
    assert_eq!(unknown["code"], "no_such_operation");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_worked_from_the_command_line() {
    let mut dev = Dev::start().await;
    let dead = dead(&dev, 4).await;
    let (code, _, err) = dev.run(&["dlq", "requeue", "emial"]).await;
    assert_eq!(code, Some(2));
    assert!(err.contains("emial") && err.contains("email"), "{err}");
    let (code, out, _) = dev.run(&["dlq", "requeue", "email", "--dry-run"]).await;
    assert_eq!((code, &out[..]), (Some(0), "4 match\n"));
    let (code, out, _) = dev.run(&["dlq", "show", &dead[0]]).await;
    assert!(code == Some(0) && out.contains("refused"), "{out}");
    let purge = ["dlq", "purge", "email", "--error", "order 3", "--json"];
    let (_, out, _) = dev.run(&purge).await;
    let purged: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(purged["purged"], 1, "{purged}");
    // With no other process running the command does it itself.
    dev.process.term();
    assert!(dev.process.wait_exit(PATIENCE).await.success());
    let (code, out, err) = dev.run(&["dlq", "requeue", "--all", "--limit", "2"]).await;
    assert_eq!((code, &out[..]), (Some(0), "2 sent back\n"), "{err}");
    let slow = [
        "dlq", "requeue", "--all", "--rate", "0.001", "--detach", "--json",
    ];
    let (_, out, _) = dev.run(&slow).await;
    let begun: Value = serde_json::from_str(&out).unwrap();
    let id = begun["id"].as_str().unwrap();
    assert!(begun["created_by"].as_str().unwrap().starts_with("cli:"));
    for (command, expected) in [
        ("pause", Some(0)),
        ("watch", Some(1)),
        ("resume", Some(0)),
        ("cancel", Some(0)),
        ("pause", Some(1)),
    ] {
        let (code, out, err) = dev.run(&["dlq", command, id]).await;
        assert_eq!(code, expected, "{command}: {out}{err}");
    }
    let (_, out, _) = dev.run(&["dlq", "operations", "--json"]).await;
    let actions: Vec<Value> = out
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let said: Vec<_> = actions
        .iter()
        .map(|o| (&o["action"], &o["state"]))
        .collect();
    let expected = [
        ("requeue", "cancelled"),
        ("requeue", "done"),
        ("purge", "done"),
    ];
    let expected = expected.map(|(action, state)| (json!(action), json!(state)));
    assert_eq!(said, expected.each_ref().map(|(a, s)| (a, s)));
}
