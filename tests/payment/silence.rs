//! A gateway that takes requests and says nothing costs a charge no attempt, however little time the
//! queue gives it.

use longshore::App;
use longshore::config::{Queues, SettingsArgs};
use longshore::job::State;
use longshore::testing::Harness;
use serde_json::json;

use crate::payment::{self, Cashier, ChargePayment, RefundPayment};
use crate::support::door::Door;

const QUEUES: &str = r#"
[queues.payment]
kinds = ["payment.charge", "payment.refund"]
timeout = "2s"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_gateway_is_an_outage_however_short_the_timeout_is() {
    let door = Door::to("127.0.0.1:1".to_owned()).await;
    door.fall_silent();
    let app = App::new()
        .job_with::<ChargePayment>("payment", Cashier::for_jobs)
        .job_with::<RefundPayment>("payment", Cashier::for_jobs)
        .migrations(payment::TABLES);
    let settings = SettingsArgs {
        stripe_api_key: Some("sk_test_1".into()),
        stripe_api_base: Some(format!("http://127.0.0.1:{}", door.port())),
        ..SettingsArgs::default()
    };
    let queues = Queues::parse(QUEUES, "queues.toml").unwrap();
    let harness = Harness::start_with(app, settings, queues).await.unwrap();
    let charge = json!({
        "amount": 4200, "currency": "eur", "reference": "order-1",
        "payment_method": "pm_card_visa",
    });
    let charge: ChargePayment = serde_json::from_value(charge).unwrap();
    let id = harness.submit(&charge).await.unwrap();
    harness.rest().await.unwrap();
    let job = harness.job(id).await.unwrap();
    assert_eq!(
        (job.state, job.attempt),
        (State::Retrying, 0),
        "an attempt was counted: {job:?}"
    );
    let why = job.waiting_for.unwrap().message;
    assert!(why.contains("gateway_timeout"), "{why}");
    harness.stop().await.unwrap();
}
