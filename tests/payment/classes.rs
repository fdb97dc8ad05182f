use longshore::job::ErrorClass::{self, Permanent, Retryable, Unavailable, Waiting};
use longshore::job::JobResult;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::bench::{Job, Work, charge};
use crate::memory::MemoryLedger;
use crate::payment::{Run, Stripe};
use crate::scripted::{Act, Heard, Server};

pub fn intent(status: &str) -> String {
    json!({
        "id": "pi_1", "object": "payment_intent", "status": status, "amount": 4200,
        "currency": "eur", "latest_charge": "ch_1", "last_payment_error": null,
    })
    .to_string()
}

pub fn error(code: &str) -> String {
    json!({"error": {"type": "api_error", "code": code, "message": "made up"}}).to_string()
}

/// A gateway that does as asked but for one act.
pub fn usual(heard: &Heard, confirmed: bool) -> Act {
    let done = if confirmed {
        "succeeded"
    } else {
        "requires_confirmation"
    };
    match heard.line.split(' ').collect::<Vec<_>>()[..2] {
        ["POST", "/v1/payment_intents"] => Act::say(200, intent("requires_confirmation")),
        ["POST", "/v1/payment_intents/pi_1/confirm"] => Act::say(200, intent("succeeded")),
        ["POST", "/v1/payment_intents/pi_1/cancel"] => Act::say(200, intent("canceled")),
        ["GET", "/v1/payment_intents/pi_1"] => Act::say(200, intent(done)),
        _ => Act::say(404, error("resource_missing")),
    }
}

pub async fn charge_with(server: &Server) -> JobResult {
    let key = "sk_test_1".into();
    let stripe = Stripe::new(key, Some(&server.url())).unwrap();
    let job = Job::new();
    let ledger = MemoryLedger::claim(&std::sync::Arc::default(), job.id);
    let run = Run {
        gateway: &stripe,
        ledger: &ledger,
        who: job.who(),
        cancelled: &CancellationToken::new(),
    };
    let Work::Charge(payload) = charge("pm_card_visa") else {
        unreachable!()
    };
    run.charge(&payload).await
}

type Row = (Act, Option<(ErrorClass, &'static str)>);

pub fn with(status: u16, header: (&'static str, &'static str), code: &str) -> Act {
    Act::Say {
        status,
        headers: vec![header],
        body: error(code),
    }
}

fn answers() -> Vec<Row> {
    let declined = json!({"error": {
        "type": "card_error", "code": "card_declined", "decline_code": "lost_card",
        "message": "Your card was declined.",
    }});
    vec![
        (
            Act::say(402, declined.to_string()),
            Some((Permanent, "lost_card")),
        ),
        (
            Act::say(402, error("expired_card")),
            Some((Permanent, "expired_card")),
        ),
        (
            Act::say(400, error("parameter_invalid")),
            Some((Permanent, "parameter_invalid")),
        ),
        (Act::say(409, ""), Some((Retryable, "gateway_conflict"))),
        (
            Act::say(429, error("lock_timeout")),
            Some((Retryable, "lock_timeout")),
        ),
        (Act::say(500, ""), Some((Unavailable, "gateway_error"))),
        (
            Act::say(503, "<html>"),
            Some((Unavailable, "gateway_error")),
        ),
        (Act::say(401, ""), Some((Unavailable, "gateway_auth"))),
        (Act::say(403, ""), Some((Unavailable, "gateway_auth"))),
        (
            with(401, ("Stripe-Should-Retry", "false"), "bad_key"),
            Some((Unavailable, "bad_key")),
        ),
        (
            with(500, ("Stripe-Should-Retry", "true"), "again"),
            Some((Retryable, "again")),
        ),
        (
            with(500, ("Stripe-Should-Retry", "false"), "never"),
            Some((Permanent, "never")),
        ),
        (
            with(400, ("Stripe-Should-Retry", "true"), "again"),
            Some((Retryable, "again")),
        ),
        (
            with(429, ("Stripe-Should-Retry", "false"), "never"),
            Some((Permanent, "never")),
        ),
        // Something in between, or another server: no word of the gateway's about the payment.
        (
            Act::say(400, "<html>"),
            Some((Unavailable, "gateway_protocol")),
        ),
        (
            Act::say(404, "<html>"),
            Some((Unavailable, "gateway_protocol")),
        ),
        (
            Act::say(405, r#"{"message": "no route"}"#),
            Some((Unavailable, "gateway_protocol")),
        ),
        (Act::say(413, ""), Some((Unavailable, "gateway_protocol"))),
        (Act::say(424, error("down")), Some((Unavailable, "down"))),
        (Act::say(302, ""), Some((Unavailable, "gateway_protocol"))),
        (
            Act::say(200, "<html>"),
            Some((Unavailable, "gateway_protocol")),
        ),
        (
            Act::Raw(b"SSH-2.0-OpenSSH\r\n"),
            Some((Unavailable, "gateway_cut")),
        ),
        (Act::Cut, Some((Unavailable, "gateway_cut"))),
        (Act::CutShort, Some((Unavailable, "gateway_cut"))),
    ]
}

pub fn ended(end: &JobResult) -> Option<(ErrorClass, &str)> {
    let error = end.as_ref().err()?.error();
    Some((error.class, &error.code))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_to_a_creation_has_its_class() {
    for (act, expected) in answers() {
        let what = format!("{act:?}");
        let server = Server::start(move |heard| {
            if heard.line.starts_with("POST /v1/payment_intents ") {
                act.clone()
            } else {
                usual(heard, false)
            }
        })
        .await;
        assert_eq!(ended(&charge_with(&server).await), expected, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_to_a_confirmation_has_its_class_when_nothing_was_charged() {
    for (act, expected) in answers() {
        let what = format!("{act:?}");
        let server = Server::start(move |heard| {
            if heard.line.contains("/confirm") {
                act.clone()
            } else {
                usual(heard, false)
            }
        })
        .await;
        assert_eq!(ended(&charge_with(&server).await), expected, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_answered_to_a_confirmation_a_charge_is_a_success() {
    for (act, _) in answers() {
        let declined = matches!(act, Act::Say { status: 402, .. });
        let what = format!("{act:?}");
        let server = Server::start(move |heard| {
            if heard.line.contains("/confirm") {
                act.clone()
            } else if heard.line.contains("/cancel") {
                Act::say(400, error("payment_intent_unexpected_state"))
            } else {
                usual(heard, true)
            }
        })
        .await;
        let end = charge_with(&server).await;
        assert_eq!(ended(&end), None, "{what}, declined: {declined}");
    }
}

/// An answer about a payment alone says nothing of the gateway: the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_the_gateway_does_not_know_is_no_outage() {
    let server = Server::start(|heard| {
        if heard.line.starts_with("GET") {
            Act::say(404, error("resource_missing"))
        } else if heard.line.contains("/confirm") {
            Act::Cut
        } else {
            usual(heard, false)
        }
    })
    .await;
    let stripe = Stripe::new("sk_test_1".into(), Some(&server.url())).unwrap();
    let (books, job) = (std::sync::Arc::default(), Job::new());
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
        let failure = run.charge(&payload).await.unwrap_err();
        ends.push((failure.error().class, failure.error().code.clone()));
    }
    assert_eq!(
        ends,
        [
            (Unavailable, "gateway_cut".to_owned()),
            (Waiting, "resource_missing".to_owned())
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn doubt_is_never_the_end_of_a_job() {
    for (act, _) in answers() {
        if matches!(act, Act::Say { status: 402, .. }) {
            continue;
        }
        let what = format!("{act:?}");
        let server = Server::start(move |heard| {
            if heard.line.contains("/confirm") {
                act.clone()
            } else if heard.line.starts_with("GET") {
                Act::say(500, "")
            } else {
                usual(heard, false)
            }
        })
        .await;
        let end = charge_with(&server).await;
        let class = end.unwrap_err().error().class;
        assert!(
            matches!(class, Unavailable | Retryable | Waiting),
            "{what}: {class:?}"
        );
    }
}

#[tokio::test]
async fn each_state_of_an_intent_has_its_end() {
    for (status, expected) in [
        ("succeeded", None),
        ("processing", Some((Waiting, "payment_processing"))),
        ("requires_action", Some((Permanent, "requires_action"))),
        (
            "requires_payment_method",
            Some((Permanent, "card_declined")),
        ),
        ("canceled", Some((Permanent, "payment_canceled"))),
        ("requires_capture", Some((Unavailable, "gateway_protocol"))),
        (
            "requires_confirmation",
            Some((Unavailable, "gateway_protocol")),
        ),
    ] {
        let server = Server::start(move |heard| {
            if heard.line.contains("/confirm") {
                Act::say(200, intent(status))
            } else {
                usual(heard, false)
            }
        })
        .await;
        assert_eq!(ended(&charge_with(&server).await), expected, "{status}");
    }
}

#[tokio::test]
async fn nobody_at_the_other_end_is_an_outage() {
    let server = Server::start(|heard| usual(heard, false)).await;
    let port = crate::support::program::free_port();
    let key = "sk_test_1".into();
    let stripe = Stripe::new(key, Some(&format!("http://127.0.0.1:{port}"))).unwrap();
    let error = crate::payment::Gateway::intent(&stripe, "pi_1")
        .await
        .unwrap_err();
    assert_eq!(error.code, "gateway_connect");
    drop(server);
}
