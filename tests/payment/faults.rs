//! The real program against a gateway that others wrote, over a line that loses what it carries,
//! with workers that are killed and frozen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::gateway::Seen;
use crate::support::program::Program;
use crate::till::{PaymentColumns, Till};

const CHARGES: usize = 2000;
const AMOUNT: u64 = 4200;

fn reference(n: usize) -> String {
    format!("order-{n}")
}

/// How much the charge of this number is, and in what.
fn price(n: usize) -> (i64, &'static str) {
    let currency = ["eur", "usd", "jpy"][n % 3];
    (i64::try_from(100 + n).unwrap(), currency)
}

/// What the charge of this number is paid with, and the code that it is refused with.
fn method(n: usize, asks: &str) -> (String, Option<&'static str>) {
    match n % 20 {
        3 | 13 => (
            "pm_card_chargeCustomerFail".to_owned(),
            Some("card_declined"),
        ),
        7 => (asks.to_owned(), Some("requires_action")),
        _ => ("pm_card_visa".to_owned(), None),
    }
}

async fn troubled(till: &Till, workers: &mut Vec<Program>) {
    for round in 0..6_u64 {
        tokio::time::sleep(Duration::from_millis(1500 + 370 * round)).await;
        let at = usize::try_from(round).unwrap() % 2;
        till.at_work(&workers[at]).await;
        if round == 3 {
            workers[at].freeze();
        } else {
            workers[at].kill9();
        }
        let next = till.worker().await;
        let gone = std::mem::replace(&mut workers[at], next);
        workers.push(gone);
    }
    for worker in workers {
        if worker.is_running() {
            worker.thaw();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reference_is_charged_once_over_a_bad_line_by_workers_that_are_killed() {
    let till = Till::open().await;
    let asks = till.gateway.payment_method("4000002500003155").await;
    let mut workers = vec![till.worker().await, till.worker().await];
    let payload = |n: usize| {
        let (amount, currency) = price(n);
        json!({
            "amount": amount, "currency": currency, "reference": reference(n),
            "payment_method": method(n, &asks).0,
        })
    };
    // Every tenth is asked for by two jobs.
    let payloads = (0..CHARGES).chain((0..CHARGES).step_by(10)).map(payload);
    let charging = async {
        let ids = till.submit("payment.charge", payloads.collect()).await;
        till.ended(&ids).await
    };
    let (jobs, ()) = tokio::join!(charging, troubled(&till, &mut workers));

    let mishaps = till.line.mishaps();
    assert!(
        mishaps > CHARGES / 4,
        "the line was good: {mishaps} mishaps"
    );
    let paid = till.gateway.charges().await;
    let twice: Vec<_> = paid
        .iter()
        .filter(|(_, charges)| charges.len() > 1)
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
    let rows = till.payments().await;
    assert_eq!(rows.len(), CHARGES);
    let ours: BTreeMap<String, Vec<String>> = rows
        .iter()
        .filter(|row| row.state == "succeeded")
        .map(|row| {
            (
                row.intent.clone().unwrap(),
                vec![row.charge.clone().unwrap()],
            )
        })
        .collect();
    assert_eq!(paid, ours, "the gateway's charges are those in the table");

    let by_intent: BTreeMap<String, Seen> = rows
        .iter()
        .filter(|row| row.state == "succeeded")
        .map(|row| {
            let seen = (row.amount, row.currency.clone(), row.reference.clone());
            (row.intent.clone().unwrap(), seen)
        })
        .collect();
    assert_eq!(
        till.gateway.paid().await,
        by_intent,
        "each intent is for its own reference, of its amount and currency"
    );

    let by_reference: BTreeMap<&str, &PaymentColumns> = rows
        .iter()
        .map(|row| (row.reference.as_str(), row))
        .collect();
    for n in 0..CHARGES {
        let row = by_reference[reference(n).as_str()];
        let (_, refused) = method(n, &asks);
        let expected = if refused.is_some() {
            "refused"
        } else {
            "succeeded"
        };
        assert_eq!(row.state, expected, "{row:?}");
        assert_eq!((row.amount, row.currency.as_str()), price(n), "{row:?}");
        assert_eq!(row.code.as_deref(), refused, "{row:?}");
    }
    for job in &jobs {
        let row = by_reference[job["payload"]["reference"].as_str().unwrap()];
        let expected = if row.state == "succeeded" {
            "succeeded"
        } else {
            "dead"
        };
        assert_eq!(job["state"], expected, "{job} {row:?}");
        if expected == "dead" {
            assert_eq!(job["error"]["code"].as_str(), row.code.as_deref(), "{job}");
        }
    }
    assert_eq!(
        till.balance().await,
        ("ok".to_owned(), "adds up".to_owned())
    );
    eprintln!(
        "{CHARGES} references, {} jobs, {mishaps} mishaps",
        jobs.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_over_a_bad_line_give_back_what_the_table_says() {
    let till = Till::open().await;
    let mut workers = vec![till.worker().await, till.worker().await];
    let charges = (0..40).map(|n| {
        json!({
            "amount": AMOUNT, "currency": "eur", "reference": reference(n),
            "payment_method": "pm_card_visa",
        })
    });
    let ids = till.submit("payment.charge", charges.collect()).await;
    till.ended(&ids).await;
    // Three of 1500 do not fit into 4200.
    let refunds = (0..120).map(|n| json!({"reference": reference(n % 40), "amount": 1500}));
    let refunding = async {
        let ids = till.submit("payment.refund", refunds.collect()).await;
        till.ended(&ids).await
    };
    let killing = async {
        till.at_work(&workers[0]).await;
        workers[0].kill9();
        workers.push(till.worker().await);
    };
    let (jobs, ()) = tokio::join!(refunding, killing);
    let codes: BTreeSet<&str> = jobs
        .iter()
        .filter_map(|job| job["error"]["code"].as_str())
        .collect();
    assert_eq!(codes, BTreeSet::from(["refund_exceeds_charge"]));
    let made = jobs
        .iter()
        .filter(|job| job["state"] == "succeeded")
        .count();
    assert_eq!(made, 80);
    let mut back: BTreeMap<String, u64> = BTreeMap::new();
    for refund in till.gateway.all("refunds").await {
        let intent = refund["payment_intent"].as_str().unwrap().to_owned();
        *back.entry(intent).or_default() += refund["amount"].as_u64().unwrap();
    }
    for row in till.payments().await {
        assert_eq!(row.refunded, 3000, "{row:?}");
        assert_eq!(back[&row.intent.unwrap()], 3000);
    }
    assert_eq!(till.balance().await.0, "ok");
    // It must be able to fail.
    let mut connection = PgConnection::connect(till.database.url()).await.unwrap();
    sqlx::query("UPDATE longshore.payments SET refunded = 1 WHERE reference = 'order-7'")
        .execute(&mut connection)
        .await
        .unwrap();
    let (status, detail) = till.balance().await;
    assert_ne!(status, "ok");
    assert!(detail.contains("order-7"), "{detail}");
}
