use reqwest::Method;
use serde_json::{Value, json};

use crate::dev::{Dev, mail};
use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::program::{free_port, longshore};
use crate::support::wait::{PATIENCE, until};

const ADMIN: &str = "an-admin-key-of-more-than-32-characters";

fn job() -> Value {
    json!({"kind": "email.send", "payload": mail("x"), "delay": "1h"})
}

/// Makes a key; returns it with its number.
async fn create(dev: &Dev, arguments: &[&str]) -> (String, i64) {
    let command = [&["keys", "create", "--json"], arguments].concat();
    let (code, out, err) = dev.run(&command).await;
    assert_eq!(code, Some(0), "{err}");
    let created: Value = serde_json::from_str(&out).unwrap();
    let key = created["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with(created["prefix"].as_str().unwrap()));
    (key, created["id"].as_i64().unwrap())
}

async fn until_status(api: &Api, status: u16) {
    until(&format!("the answer is {status}"), PATIENCE, async || {
        let answer = api.get("/v1/jobs").await;
        (answer.status.as_u16() == status).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_closes_the_door_and_revoking_the_last_does_not_open_it() {
    let mut dev = Dev::start().await;
    dev.process.wait_for_line("keys    none", PATIENCE).await;
    dev.api.get("/v1/jobs").await.expect(200);
    let (key, _) = create(&dev, &["shop", "--scope", "submit"]).await;
    until_status(&dev.api, 401).await;

    let refused = dev.api.get("/v1/jobs").await;
    assert!(refused.header("www-authenticate").starts_with("Bearer"));
    assert_eq!(refused.expect(401)["code"], "unauthenticated");
    let shop = dev.api.clone().with_key(&key);
    shop.post("/v1/jobs", &job()).await.expect(202);
    let refused = shop.get("/v1/jobs").await.expect(403);
    assert_eq!(
        (&refused["code"], &refused["scope"]),
        (&json!("forbidden"), &json!("read"))
    );
    for path in ["/healthz", "/readyz"] {
        dev.api.get(path).await.expect(200);
    }

    let (code, _, err) = dev.run(&["keys", "revoke", "shop"]).await;
    assert_eq!(code, Some(0), "{err}");
    let submits = async || shop.post("/v1/jobs", &job()).await.status.as_u16();
    until("the key is refused", PATIENCE, async || {
        (submits().await == 401).then_some(())
    })
    .await;
    until_status(&dev.api, 401).await;
    dev.process.kill9();
    let again = Dev::within(dev.dir).await;
    until_status(&again.api, 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_works_at_once_and_its_secret_is_nowhere() {
    let mut dev = Dev::start().await;
    let (key, id) = create(&dev, &["shop"]).await;
    until_status(&dev.api, 401).await;
    let (other, _) = create(&dev, &["desk", "--scope", "operate"]).await;
    dev.api
        .clone()
        .with_key(&other)
        .get("/v1/jobs")
        .await
        .expect(200);
    for wrong in [
        "",
        "lsk_",
        &key[..key.len() - 1],
        &format!("{key}x"),
        &key.to_uppercase(),
    ] {
        let refused = dev.api.clone().with_key(wrong).get("/v1/jobs").await;
        refused.expect(401);
    }
    for scheme in ["Basic", "bearer  ", ""] {
        let header = format!("{scheme} {key}");
        let headers = [("authorization", header.trim())];
        let answer = dev.api.call(Method::GET, "/v1/jobs", None, &headers).await;
        let fine = scheme.starts_with("bearer");
        assert_eq!(answer.status.is_success(), fine, "{header}");
    }
    let (code, list, _) = dev.run(&["keys", "list", "--json"]).await;
    assert_eq!((code, list.lines().count()), (Some(0), 2));
    assert!(list.contains("\"scopes\":[\"submit\",\"read\"]"), "{list}");
    let (_, table, _) = dev.run(&["keys", "list"]).await;
    assert!(
        table.contains("desk") && table.contains("operate"),
        "{table}"
    );
    let mut kept = list + &table + &dev.process.output_so_far();
    for file in std::fs::read_dir(dev.dir.join(".longshore")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            kept += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
        }
    }
    assert!(kept.contains(&key[..12]) && !kept.contains(&key[4..]));
    let (code, _, err) = dev.run(&["keys", "revoke", &id.to_string()]).await;
    assert_eq!(code, Some(0), "{err}");
    dev.process.term();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_reach_needs_a_key() {
    let dir = TestDir::new("reached");
    let port = free_port();
    let start = |admin: Option<&str>| {
        let launch = longshore(["dev"])
            .within(dir.path())
            .env("LONGSHORE_LISTEN", format!("0.0.0.0:{port}"));
        match admin {
            Some(key) => launch.env("LONGSHORE_ADMIN_KEY", key).start(),
            None => launch.start(),
        }
    };
    let mut refused = start(None);
    assert_eq!(refused.wait_exit(PATIENCE).await.code(), Some(2));
    let said = refused.stderr();
    assert!(
        said.contains("keys create") && said.contains("LONGSHORE_ADMIN_KEY"),
        "{said}"
    );
    let mut short = start(Some("hunter2"));
    assert_eq!(short.wait_exit(PATIENCE).await.code(), Some(2));
    assert!(!short.output_so_far().contains("hunter2"));

    let mut dev = start(Some(ADMIN));
    dev.wait_for_line("is up", PATIENCE).await;
    let api = Api::new(format!("http://127.0.0.1:{port}"));
    api.get("/v1/jobs").await.expect(401);
    let admin = api.clone().with_key(ADMIN);
    admin.get("/v1/jobs").await.expect(200);
    admin.post("/v1/jobs", &job()).await.expect(202);
    api.with_key(&ADMIN[1..]).get("/v1/jobs").await.expect(401);
    assert!(!dev.output_so_far().contains(ADMIN));
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotency_keys_belong_to_the_api_key_that_sent_them() {
    let dev = Dev::start().await;
    let (shop, _) = create(&dev, &["shop"]).await;
    let (desk, _) = create(&dev, &["desk"]).await;
    until_status(&dev.api, 401).await;
    let header = [("idempotency-key", "order-17")];
    let mut ids = Vec::new();
    for key in [&shop, &desk, &shop] {
        let api = dev.api.clone().with_key(key);
        let accepted = api.post_with("/v1/jobs", &job(), &header).await.expect(202);
        ids.push(accepted["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0], ids[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_a_rate_is_told_when_to_come_back() {
    let dev = Dev::start().await;
    let (key, _) = create(&dev, &["shop", "--rate", "2/s"]).await;
    until_status(&dev.api, 401).await;
    let (free, _) = create(&dev, &["free"]).await;
    let (shop, free) = (
        dev.api.clone().with_key(&key),
        dev.api.clone().with_key(&free),
    );
    let answers = futures::future::join_all((0..40).map(|_| shop.get("/v1/jobs"))).await;
    let (mut fine, mut limited) = (0, 0);
    for answer in answers {
        if answer.status.is_success() {
            fine += 1;
            continue;
        }
        assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
        assert_eq!(answer.expect(429)["code"], "rate_limited");
        limited += 1;
    }
    assert!(fine >= 2 && limited >= 1, "{fine} fine, {limited} limited");
    free.get("/v1/jobs").await.expect(200);
    for bad in ["0/s", "many", "5/m", "-1/s"] {
        let (code, _, _) = dev.run(&["keys", "create", "x", "--rate", bad]).await;
        assert_eq!(code, Some(2), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_no_web_page_may_call_and_nobody_behind_a_proxy() {
    let dev = Dev::start().await;
    for headers in [
        [("host", "evil.example"), ("accept", "*/*")],
        [("origin", "https://evil.example"), ("accept", "*/*")],
        [("origin", "null"), ("accept", "*/*")],
    ] {
        let refused = dev.api.post_with("/v1/jobs", &job(), &headers).await;
        assert_eq!(refused.expect(403)["code"], "foreign_origin", "{headers:?}");
    }
    let forwarded = [("x-forwarded-for", "192.0.2.7")];
    let refused = dev.api.post_with("/v1/jobs", &job(), &forwarded).await;
    assert_eq!(refused.expect(403)["code"], "foreign_origin");
    let own = format!("http://127.0.0.1:{}", dev.port);
    let headers = [("origin", own.as_str())];
    dev.api
        .post_with("/v1/jobs", &job(), &headers)
        .await
        .expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_uses_of_keys_name_the_fix() {
    let dev = Dev::start().await;
    create(&dev, &["shop"]).await;
    let table: [(&[&str], i32, &str); 6] = [
        (&["keys", "create", "shop"], 1, "revoke"),
        (&["keys", "create", "17"], 2, "letters"),
        (&["keys", "create", "a b"], 2, "letters"),
        (&["keys", "create", "desk", "--scope", "write"], 2, "submit"),
        (&["keys", "revoke", "nobody"], 1, "keys list"),
        (&["keys", "create", "desk", "--scope", ""], 2, "scope"),
    ];
    for (arguments, code, text) in table {
        let (ended, _, err) = dev.run(arguments).await;
        assert_eq!(ended, Some(code), "{arguments:?}: {err}");
        assert!(err.contains(text), "{arguments:?}: {err}");
    }
    let (code, _, _) = dev.run(&["keys", "revoke", "shop", "--yes"]).await;
    assert_eq!(code, Some(0));
    let (code, _, err) = dev.run(&["keys", "revoke", "shop"]).await;
    assert!(code == Some(1) && err.contains("revoked"), "{err}");
}
