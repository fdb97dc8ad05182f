//! The real program against a gateway that others wrote, over a line that loses what it carries,
//! with workers that are killed and frozen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::gateway::{BadLine, KEY, LocalStripe};
use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::program::{Launch, Program, free_port, longshore};
use crate::support::rabbit::Rabbit;
use crate::support::shared::Database;
use crate::support::wait::{PATIENCE, until};

const CHARGES: usize = 2000;
const AMOUNT: u64 = 4200;

const QUEUES: &str = r#"
[queues.payment]
kinds = ["payment.charge", "payment.refund"]
concurrency = 32
prefetch = 64
timeout = "3m"
[queues.payment.retry]
max_attempts = 20
initial = "200ms"
max = "2s"
[queues.payment.breaker]
cooldown = "500ms"
"#;

/// An intake and payment workers, all processes, and their gateway.
pub struct Till {
    rabbit: Rabbit,
    database: Database,
    dir: TestDir,
    pub api: Api,
    pub gateway: LocalStripe,
    line: BadLine,
    _intake: Option<Program>,
}

impl Till {
    pub async fn open() -> Self {
        let (rabbit, database, gateway) =
            tokio::join!(Rabbit::start(), Database::create(), LocalStripe::start());
        let line = BadLine::to(&gateway).await;
        let dir = TestDir::new("till");
        std::fs::write(dir.join("queues.toml"), QUEUES).unwrap();
        let port = free_port();
        let mut till = Self {
            api: Api::new(format!("http://127.0.0.1:{port}")),
            _intake: None,
            rabbit,
            database,
            dir,
            gateway,
            line,
        };
        let mut migrate = till.launch(&["migrate"]).start();
        assert!(migrate.wait_exit(PATIENCE).await.success());
        let listen = format!("127.0.0.1:{port}");
        let intake = till.launch(&["intake"]).env("LONGSHORE_LISTEN", listen);
        till._intake = Some(intake.start());
        ready(port).await;
        till
    }

    fn launch(&self, arguments: &[&str]) -> Launch {
        longshore(arguments)
            .env("DATABASE_URL", self.database.url())
            .env("AMQP_URL", self.rabbit.url())
            .env("LONGSHORE_QUEUES", self.dir.join("queues.toml"))
            .env("STRIPE_API_KEY", KEY)
            .env("STRIPE_API_BASE", &self.line.url)
            .env("LONGSHORE_LOG", "warn,longshore::worker=error")
    }

    async fn worker(&self) -> Program {
        self.worker_at(&self.line.url).await
    }

    /// A worker that knows the gateway by that address.
    pub async fn worker_at(&self, base: &str) -> Program {
        let port = free_port();
        let worker = self
            .launch(&["work", "payment"])
            .env("STRIPE_API_BASE", base)
            .env("LONGSHORE_HEALTH_LISTEN", format!("127.0.0.1:{port}"))
            .start();
        ready(port).await;
        worker
    }

    pub async fn submit(&self, kind: &str, payloads: Vec<Value>) -> Vec<String> {
        let submitted = stream::iter(payloads).map(|payload| {
            let body = json!({"kind": kind, "payload": payload});
            async move {
                let job = self.api.post("/v1/jobs", &body).await.expect(202);
                job["id"].as_str().unwrap().to_owned()
            }
        });
        submitted.buffer_unordered(16).collect().await
    }

    /// The jobs once they have all come to an end.
    pub async fn ended(&self, ids: &[String]) -> Vec<Value> {
        let ending = stream::iter(ids).map(|id| async move {
            until(&format!("{id} has ended"), PATIENCE * 3, async || {
                let path = format!("/v1/jobs/{id}?wait=30s");
                let job = self.api.get(&path).await.expect(200);
                job["finished_at"].is_string().then_some(job)
            })
            .await
        });
        ending.buffered(16).collect().await
    }

    async fn payments(&self) -> Vec<PaymentColumns> {
        let mut connection = PgConnection::connect(self.database.url()).await.unwrap();
        let rows = sqlx::query_as(
            "SELECT reference, state, intent, charge, code, refunded FROM longshore.payments",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        connection.close().await.unwrap();
        rows
    }

    /// What `doctor` finds of the payments.
    async fn balance(&self) -> (String, String) {
        let mut doctor = self.launch(&["doctor", "--json"]).start();
        doctor.wait_exit(PATIENCE).await;
        let stdout = doctor.stdout();
        let findings = stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        findings
            .filter(|finding: &Value| finding["check"] == "payments")
            .map(|finding| (text(&finding["status"]), text(&finding["detail"])))
            .next()
            .expect("a finding about the payments")
    }
}

#[derive(Debug, sqlx::FromRow)]
struct PaymentColumns {
    reference: String,
    state: String,
    intent: Option<String>,
    charge: Option<String>,
    code: Option<String>,
    refunded: i64,
}

async fn ready(port: u16) {
    let health = Api::new(format!("http://127.0.0.1:{port}"));
    until("the process is ready", PATIENCE, async || {
        let status = health.status("/readyz").await?;
        status.is_success().then_some(())
    })
    .await;
}

fn reference(n: usize) -> String {
    format!("order-{n}")
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
        json!({
            "amount": AMOUNT, "currency": "eur", "reference": reference(n),
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
        tokio::time::sleep(Duration::from_millis(700)).await;
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
