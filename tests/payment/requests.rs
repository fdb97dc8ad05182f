//! What is asked of a gateway over HTTP: headers, keys, units.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longshore::job::ErrorClass::Unavailable;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::bench::{Job, Work, charge, charge_of};
use crate::classes::{charge_with, ended, error, usual, with};
use crate::memory::MemoryLedger;
use crate::payment::{Run, Stripe};
use crate::scripted::{Act, Server};

#[tokio::test]
async fn retry_after_is_honoured() {
    let server = Server::start(|heard| {
        if heard.line.contains("/confirm") {
            with(429, ("Retry-After", "7"), "rate_limit")
        } else {
            usual(heard, false)
        }
    })
    .await;
    let failure = charge_with(&server).await.unwrap_err();
    let expected = longshore::job::Failure::retry("rate_limit", failure.error().message.clone());
    assert_eq!(failure, expected.after(Duration::from_secs(7)));
}

#[tokio::test]
async fn the_requests_are_what_the_gateway_documents() {
    let server = Server::start(|heard| usual(heard, false)).await;
    charge_with(&server).await.unwrap();
    let heard = server.heard();
    assert_eq!(heard.len(), 2, "{heard:?}");
    for request in &heard {
        assert_eq!(request.header("authorization"), Some("Bearer sk_test_1"));
        assert!(request.header("stripe-version").is_some());
    }
    let key = |n: usize| heard[n].header("idempotency-key").unwrap();
    assert_eq!(key(0), "longshore:order-1:create:1");
    assert_eq!(key(1), "longshore:order-1:confirm:1");
    for field in [
        "amount=4200",
        "currency=eur",
        "payment_method=pm_card_visa",
        "payment_method_types%5B%5D=card",
        "metadata%5Blongshore_reference%5D=order-1",
        "metadata%5Blongshore_job%5D=",
    ] {
        assert!(heard[0].body.contains(field), "{field}: {}", heard[0].body);
    }
    assert!(!heard[0].body.contains("confirm"), "{}", heard[0].body);
    assert_eq!(heard[1].body, "");
}

#[tokio::test]
async fn an_address_that_makes_no_intents_is_an_outage() {
    for status in [404, 405] {
        let server = Server::start(move |_| Act::say(status, error("unrecognized_url"))).await;
        let end = charge_with(&server).await;
        assert_eq!(
            ended(&end),
            Some((Unavailable, "gateway_protocol")),
            "{status}"
        );
    }
}

#[tokio::test]
async fn keys_are_renewed_when_the_gateway_has_spent_them_and_not_before() {
    let calls = AtomicUsize::new(0);
    let server = Server::start(move |heard| {
        let spent = heard.header("idempotency-key") == Some("longshore:order-1:create:1");
        match calls.fetch_add(1, Ordering::SeqCst) {
            // Of something in between: the gateway may still be at work.
            0 => Act::say(502, "<html>"),
            _ if spent => with(500, ("Idempotent-Replayed", "true"), "api_error"),
            _ => usual(heard, false),
        }
    })
    .await;
    let stripe = Stripe::new("sk_test_1".into(), Some(&server.url())).unwrap();
    let (books, job) = (Arc::default(), Job::new());
    let Work::Charge(payload) = charge("pm_card_visa") else {
        unreachable!()
    };
    let mut ends = Vec::new();
    for _ in 0..2 {
        let run = Run {
            gateway: &stripe,
            ledger: &MemoryLedger::claim(&books, job.id),
            who: job.who(),
            cancelled: &CancellationToken::new(),
        };
        ends.push(ended(&run.charge(&payload).await).map(|(class, _)| class));
    }
    assert_eq!(ends, [Some(Unavailable), None]);
    let heard = server.heard();
    let keys: Vec<&str> = heard
        .iter()
        .filter_map(|heard| heard.header("idempotency-key"))
        .collect();
    assert_eq!(
        keys,
        [
            "longshore:order-1:create:1",
            "longshore:order-1:create:1",
            "longshore:order-1:create:2",
            "longshore:order-1:confirm:2",
        ]
    );
}

/// The gateway counts some currencies otherwise than ISO 4217.
#[tokio::test]
async fn the_gateway_is_asked_in_its_own_units() {
    for (currency, amount, number) in [("isk", 500, 50_000), ("mga", 500, 5), ("jpy", 500, 500)] {
        let object = move |status: &str| {
            json!({"id": "pi_1", "status": status, "amount": number, "currency": currency,
                   "latest_charge": "ch_1"})
            .to_string()
        };
        let server = Server::start(move |heard| {
            let status = if heard.line.contains("/confirm") {
                "succeeded"
            } else {
                "requires_confirmation"
            };
            Act::say(200, object(status))
        })
        .await;
        let stripe = Stripe::new("sk_test_1".into(), Some(&server.url())).unwrap();
        let (books, job) = (Arc::default(), Job::new());
        let run = Run {
            gateway: &stripe,
            ledger: &MemoryLedger::claim(&books, job.id),
            who: job.who(),
            cancelled: &CancellationToken::new(),
        };
        let Work::Charge(payload) = charge_of("order-1", "pm_card_visa", amount, currency) else {
            unreachable!()
        };
        run.charge(&payload).await.unwrap();
        let books = books.lock().unwrap();
        assert_eq!(books.succeeded[&job.id]["amount"], amount, "{currency}");
        let body = &server.heard()[0].body;
        assert!(
            body.starts_with(&format!("amount={number}&")),
            "{currency}: {body}"
        );
    }
}

/// A key that the gateway knows from another request is exchanged for the next one; the payment
/// itself is as good as before.
#[tokio::test]
async fn a_key_that_was_used_for_something_else_ends_no_payment() {
    let server = Server::start(|heard| {
        let first = heard.header("idempotency-key") == Some("longshore:order-1:confirm:1");
        if first {
            Act::say(400, error("idempotency_error"))
        } else {
            usual(heard, false)
        }
    })
    .await;
    charge_with(&server).await.unwrap();
    let heard = server.heard();
    let keys = heard
        .iter()
        .filter_map(|heard| heard.header("idempotency-key"));
    let keys: Vec<&str> = keys.collect();
    assert_eq!(
        keys,
        [
            "longshore:order-1:create:1",
            "longshore:order-1:confirm:1",
            "longshore:order-1:confirm:2",
        ]
    );
}
