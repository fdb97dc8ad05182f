use longshore::worker::Job;
use serde_json::{Value, json};

use crate::payment::{ChargePayment, RefundPayment};

fn charge(change: &Value) -> Value {
    let mut payload = json!({
        "amount": 4200, "currency": "EUR", "payment_method": "pm_card_visa",
        "reference": "order-1017",
    });
    for (key, value) in change.as_object().unwrap() {
        payload[key] = value.clone();
    }
    payload
}

/// The pointers of what is wrong with a payload.
fn wrong<J: Job>(payload: Value) -> Vec<String> {
    match serde_json::from_value::<J>(payload) {
        Ok(job) => job
            .validate()
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|invalid| invalid.pointer)
            .collect(),
        Err(error) => vec![format!("type: {error}")],
    }
}

#[test]
fn good_charges_pass() {
    for change in [
        json!({}),
        json!({"currency": "jpy", "amount": 1}),
        json!({"currency": "kwd", "amount": 5120}),
        json!({"currency": "isk", "amount": 500}),
        json!({"amount": 999_999_999_999_u64}),
        json!({"reference": "a".repeat(200), "customer": "cus_1", "description": "Schöne Grüße"}),
        json!({"metadata": {"shop": "x".repeat(500)}}),
    ] {
        assert_eq!(wrong::<ChargePayment>(charge(&change)), [""; 0], "{change}");
    }
}

#[test]
fn each_bad_field_is_named() {
    let many: serde_json::Map<String, Value> =
        (0..49).map(|n| (format!("k{n}"), json!("v"))).collect();
    for (change, pointer) in [
        (json!({"amount": 0}), "/amount"),
        (json!({"amount": 1_000_000_000_000_u64}), "/amount"),
        (json!({"currency": "kwd", "amount": 5123}), "/amount"),
        (json!({"currency": "mga", "amount": 550}), "/amount"),
        (json!({"currency": "xyz"}), "/currency"),
        (json!({"currency": "€"}), "/currency"),
        (json!({"currency": ""}), "/currency"),
        (json!({"payment_method": ""}), "/payment_method"),
        (json!({"payment_method": "pm_1/../x"}), "/payment_method"),
        (
            json!({"payment_method": "4242424242424242"}),
            "/payment_method",
        ),
        (json!({"customer": "c d"}), "/customer"),
        (json!({"reference": ""}), "/reference"),
        (json!({"reference": "order 7"}), "/reference"),
        (json!({"reference": "order\u{0}7"}), "/reference"),
        (json!({"reference": "a".repeat(201)}), "/reference"),
        (json!({"description": "x".repeat(1001)}), "/description"),
        (json!({"description": "\u{0}"}), "/description"),
        (json!({"metadata": many}), "/metadata"),
        (json!({"metadata": {"a[b]": "c"}}), "/metadata/a[b]"),
        (
            json!({"metadata": {"longshore_job": "c"}}),
            "/metadata/longshore_job",
        ),
        (
            json!({"metadata": {"a/b~": "x".repeat(501)}}),
            "/metadata/a~1b~0",
        ),
    ] {
        assert_eq!(
            wrong::<ChargePayment>(charge(&change)),
            [pointer],
            "{change}"
        );
    }
    let all = charge(&json!({"amount": 0, "currency": "?", "payment_method": "", "reference": ""}));
    assert_eq!(
        wrong::<ChargePayment>(all),
        ["/amount", "/currency", "/payment_method", "/reference"]
    );
}

#[test]
fn amounts_are_whole_and_positive_by_their_type() {
    for amount in [
        json!(-1),
        json!(1.5),
        json!("100"),
        json!(null),
        json!(1e30),
    ] {
        let found = wrong::<ChargePayment>(charge(&json!({"amount": amount})));
        assert!(found[0].starts_with("type: "), "{amount}: {found:?}");
    }
}

#[test]
fn a_card_number_is_not_repeated() {
    let job: ChargePayment =
        serde_json::from_value(charge(&json!({"payment_method": "4242424242424242"}))).unwrap();
    let errors = job.validate().unwrap_err();
    assert!(errors.iter().all(|error| !error.message.contains("4242")));
}

#[test]
fn refunds_are_checked_too() {
    let refund = |change: Value| {
        let mut payload = json!({"reference": "order-1017"});
        for (key, value) in change.as_object().unwrap() {
            payload[key] = value.clone();
        }
        wrong::<RefundPayment>(payload)
    };
    assert_eq!(refund(json!({})), [""; 0]);
    assert_eq!(refund(json!({"amount": 1, "reason": "duplicate"})), [""; 0]);
    assert_eq!(refund(json!({"amount": 0})), ["/amount"]);
    assert_eq!(refund(json!({"reference": "ü"})), ["/reference"]);
    assert!(refund(json!({"reason": "because"}))[0].starts_with("type: "));
}
