//! The program in one process, on SQLite, with the sandbox.

use serde_json::{Value, json};

use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::program::{Launch, Program, free_port, longshore};
use crate::support::wait::{PATIENCE, until};

async fn dev(dir: &TestDir) -> (Program, Api) {
    started(longshore(["dev"]).within(dir.path())).await
}

pub async fn started(dev: Launch) -> (Program, Api) {
    let port = free_port();
    let process = dev
        .env("LONGSHORE_LISTEN", format!("127.0.0.1:{port}"))
        .start();
    let api = Api::new(format!("http://127.0.0.1:{port}"));
    until("dev is ready", PATIENCE, async || {
        let status = api.status("/readyz").await?;
        status.is_success().then_some(())
    })
    .await;
    (process, api)
}

/// The job's result, or the code of its error, once it has ended.
pub async fn end(api: &Api, kind: &str, payload: Value) -> Value {
    let body = json!({"kind": kind, "payload": payload});
    let job = api.post("/v1/jobs", &body).await.expect(202);
    let path = format!("/v1/jobs/{}?wait=30s", job["id"].as_str().unwrap());
    until("the job has ended", PATIENCE, async || {
        let job = api.get(&path).await.expect(200);
        match job["state"].as_str().unwrap() {
            "succeeded" => Some(job["result"].clone()),
            "dead" => Some(job["error"]["code"].clone()),
            _ => None,
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_charges_refunds_and_remembers_both_after_its_death() {
    let dir = TestDir::new("dev");
    let charge = |reference: &str, method: &str| {
        json!({
            "amount": 4200, "currency": "EUR", "payment_method": method, "reference": reference,
        })
    };
    let visa = charge("order-1", "pm_card_visa");
    let lost = charge("order-2", "pm_card_chargeDeclinedLostCard");
    let refund = |amount: u64| json!({"reference": "order-1", "amount": amount});
    let (mut process, api) = dev(&dir).await;
    let first = end(&api, "payment.charge", visa.clone()).await;
    assert_eq!(first["status"], "succeeded", "{first}");
    assert_eq!(end(&api, "payment.charge", lost.clone()).await, "lost_card");
    let back = end(&api, "payment.refund", refund(1000)).await;
    assert_eq!(back["amount"], 1000, "{back}");
    process.kill9();
    let (_process, api) = dev(&dir).await;
    assert_eq!(end(&api, "payment.charge", visa).await, first);
    assert_eq!(end(&api, "payment.charge", lost).await, "lost_card");
    let other = charge("order-1", "pm_card_mastercard");
    assert_eq!(end(&api, "payment.charge", other).await, "reference_reused");
    let beyond = end(&api, "payment.refund", refund(3201)).await;
    assert_eq!(beyond, "refund_exceeds_charge");
    let back = end(&api, "payment.refund", json!({"reference": "order-1"})).await;
    assert_eq!(back["amount"], 3200, "{back}");
    let unknown = json!({"reference": "order-9"});
    assert_eq!(
        end(&api, "payment.refund", unknown).await,
        "unknown_reference"
    );
}
