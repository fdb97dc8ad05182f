//! What the door says of payments and stock that cannot be meant: 422, and the field.

use serde_json::{Value, json};

use crate::embedded::started;
use crate::support::dir::TestDir;
use crate::support::program::longshore;

fn with(base: &Value, change: &Value) -> Value {
    let mut payload = base.clone();
    for (key, value) in change.as_object().unwrap() {
        payload[key] = value.clone();
    }
    payload
}

fn payments() -> Vec<(&'static str, Value, &'static str)> {
    let charge = json!({
        "amount": 4200, "currency": "EUR", "payment_method": "pm_card_visa", "reference": "order-1",
    });
    let refund = json!({"reference": "order-1"});
    let mut table = Vec::new();
    for (change, pointer) in [
        (json!({"amount": 0}), "/payload/amount"),
        (json!({"amount": -1}), "/payload/amount"),
        (json!({"amount": 1.5}), "/payload/amount"),
        (json!({"amount": "100"}), "/payload/amount"),
        (json!({"amount": null}), "/payload/amount"),
        (json!({"amount": 1e30}), "/payload/amount"),
        (json!({"amount": 1_000_000_000_000_u64}), "/payload/amount"),
        (
            json!({"currency": "kwd", "amount": 5123}),
            "/payload/amount",
        ),
        (json!({"currency": "mga", "amount": 550}), "/payload/amount"),
        (json!({"currency": "xyz"}), "/payload/currency"),
        (json!({"currency": "euro"}), "/payload/currency"),
        (json!({"payment_method": ""}), "/payload/payment_method"),
        (json!({"payment_method": 7}), "/payload/payment_method"),
        (json!({"reference": "order 1"}), "/payload/reference"),
        (json!({"reference": ""}), "/payload/reference"),
        (
            json!({"metadata": {"longshore_job": "x"}}),
            "/payload/metadata/longshore_job",
        ),
        (json!({"metadata": {"n": 1}}), "/payload/metadata/n"),
        (json!({"tip": 5}), "/payload/tip"),
    ] {
        table.push(("payment.charge", with(&charge, &change), pointer));
    }
    for (change, pointer) in [
        (json!({"amount": 0}), "/payload/amount"),
        (json!({"amount": -5}), "/payload/amount"),
        (json!({"amount": 0.5}), "/payload/amount"),
        (json!({"reference": "ü"}), "/payload/reference"),
        (json!({"reason": "because"}), "/payload/reason"),
    ] {
        table.push(("payment.refund", with(&refund, &change), pointer));
    }
    table
}

fn stock() -> Vec<(&'static str, Value, &'static str)> {
    let item = json!({"sku": "tea", "quantity": 1});
    let second = |change: Value| json!({"order": "o", "items": [item, with(&json!({"sku": "pot", "quantity": 1}), &change)]});
    let adjust = json!({"sku": "tea", "delta": 1, "reason": "delivery"});
    vec![
        (
            "inventory.reserve",
            json!({"order": "o", "items": []}),
            "/payload/items",
        ),
        (
            "inventory.reserve",
            second(json!({"quantity": 0})),
            "/payload/items/1/quantity",
        ),
        (
            "inventory.reserve",
            second(json!({"quantity": -1})),
            "/payload/items/1/quantity",
        ),
        (
            "inventory.reserve",
            second(json!({"quantity": 1.5})),
            "/payload/items/1/quantity",
        ),
        (
            "inventory.reserve",
            second(json!({"quantity": 1e30})),
            "/payload/items/1/quantity",
        ),
        (
            "inventory.reserve",
            second(json!({"quantity": i64::MAX})),
            "/payload/items/1/quantity",
        ),
        (
            "inventory.reserve",
            second(json!({"quantity": u64::MAX})),
            "/payload/items/1/quantity",
        ),
        (
            "inventory.reserve",
            second(json!({"quantity": "2"})),
            "/payload/items/1/quantity",
        ),
        (
            "inventory.reserve",
            second(json!({"sku": ""})),
            "/payload/items/1/sku",
        ),
        (
            "inventory.reserve",
            second(json!({"sku": "tea"})),
            "/payload/items/1/sku",
        ),
        (
            "inventory.reserve",
            json!({"order": "o", "items": [item], "expires_in": "soon"}),
            "/payload/expires_in",
        ),
        (
            "inventory.reserve",
            json!({"order": "", "items": [item]}),
            "/payload/order",
        ),
        (
            "inventory.adjust",
            with(&adjust, &json!({"delta": 0})),
            "/payload/delta",
        ),
        (
            "inventory.adjust",
            with(&adjust, &json!({"delta": 0.5})),
            "/payload/delta",
        ),
        (
            "inventory.adjust",
            with(&adjust, &json!({"delta": 1e30})),
            "/payload/delta",
        ),
        (
            "inventory.adjust",
            with(&adjust, &json!({"delta": i64::MIN})),
            "/payload/delta",
        ),
        (
            "inventory.adjust",
            with(&adjust, &json!({"reason": ""})),
            "/payload/reason",
        ),
        ("inventory.commit", json!({"order": ""}), "/payload/order"),
        ("inventory.release", json!({"order": 7}), "/payload/order"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_field_is_refused_at_the_door_by_its_pointer() {
    let dir = TestDir::new("dev");
    let (_process, api) = started(longshore(["dev"]).within(dir.path())).await;
    for (kind, payload, pointer) in payments().into_iter().chain(stock()) {
        let body = json!({"kind": kind, "payload": payload});
        let problem = api.post("/v1/jobs", &body).await.expect(422);
        let errors = problem["errors"].as_array().unwrap();
        let mut found: Vec<&str> = errors
            .iter()
            .map(|error| error["pointer"].as_str().unwrap())
            .collect();
        found.dedup();
        assert_eq!(found, [pointer], "{kind} {payload}: {problem}");
    }
}
