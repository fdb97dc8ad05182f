//! The gateway is down: charges wait, none loses an attempt, and the gateway is left alone.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::door::Door;
use crate::support::record::{Figures, fault};
use crate::support::wait::{PATIENCE, until};
use crate::till::{Till, burned};

const CHARGES: usize = 300;
const OUTAGE: Duration = Duration::from_secs(15);
/// Those of the till's queue file.
const CONCURRENCY: usize = 32;
const FAILURES: usize = 5;
const COOLDOWN_MS: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn charges_wait_for_their_gateway_and_none_loses_an_attempt() {
    let mut fault = fault!("The payment gateway is down for 15 s");
    let till = Till::open().await;
    let door = Door::to(till.gateway.host()).await;
    let base = format!("http://127.0.0.1:{}", door.port());
    let _worker = till.worker_at(&base).await;
    door.shut();
    let charge = |n: usize| {
        json!({
            "amount": 4200, "currency": "eur", "reference": format!("order-{n}"),
            "payment_method": "pm_card_visa",
        })
    };
    let start = Instant::now();
    let payloads = (0..CHARGES).map(charge).collect();
    let ids = till.submit("payment.charge", payloads).await;
    until("the breaker is told open", PATIENCE, async || {
        let list = till.api.get("/v1/queues").await.expect(200);
        let queues = list["items"].as_array()?;
        let payment = queues.iter().find(|queue| queue["name"] == "payment")?;
        (payment["breaker"] == "open").then_some(())
    })
    .await;
    tokio::time::sleep(OUTAGE.saturating_sub(start.elapsed())).await;
    let connects = door.turned_away();
    let ms = usize::try_from(start.elapsed().as_millis()).unwrap();
    let bound = ms / COOLDOWN_MS + 1 + CONCURRENCY + FAILURES;
    eprintln!("{connects} connections in {ms} ms; at most {bound}");
    assert!(connects <= bound, "a storm: {connects} connections");
    door.open();
    fault.over();
    let jobs = till.ended(&ids).await;
    for job in &jobs {
        assert_eq!(
            (&job["state"], &job["attempt"]),
            (&json!("succeeded"), &json!(1)),
            "{job}"
        );
        assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job}");
    }
    let paid = till.gateway.charges().await;
    assert_eq!(paid.len(), CHARGES);
    assert!(paid.values().all(|charges| charges.len() == 1), "{paid:?}");
    assert_eq!(till.verified().await, CHARGES);
    let ends = jobs.iter().map(|job| {
        let end: chrono::DateTime<chrono::Utc> =
            job["finished_at"].as_str().unwrap().parse().unwrap();
        let at = u64::try_from(end.timestamp_millis()).unwrap();
        (job["id"].as_str().unwrap(), 0, at)
    });
    fault.started(ends);
    fault.hand_in(Figures {
        accepted: jobs.len(),
        lost: CHARGES - paid.len(),
        twice: paid.values().map(|charges| charges.len() - 1).sum(),
        unknown: 0,
        burned: burned(&jobs),
    });
}
