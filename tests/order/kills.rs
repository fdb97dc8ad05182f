//! The real program, killed and killed again while hundreds of orders are on their way.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};
use sqlx::Connection;

use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::program::{Launch, Program, free_port, program};
use crate::support::rabbit::Rabbit;
use crate::support::record::{Fault, Figures, fault};
use crate::support::shared::Database;
use crate::support::wait::{PATIENCE, until};

const ORDERS: usize = 240;
const KILLS: usize = 14;
/// Fewer than are ordered: some orders find none.
const UNITS: i64 = 250;

struct Shop {
    rabbit: Rabbit,
    database: Database,
    dir: TestDir,
    api: Api,
    _intake: Program,
}

/// The example, built beside the tests.
fn example() -> std::path::PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().unwrap().parent().unwrap();
    let example = target.join("examples").join("order");
    assert!(example.exists(), "build it: cargo build --example order");
    example
}

impl Shop {
    async fn open() -> Self {
        let (rabbit, database) = tokio::join!(Rabbit::start(), Database::create());
        let dir = TestDir::new("orders");
        let mut migrate = launch(&["migrate"], &database, &rabbit, &dir).start();
        let migrated = migrate.wait_exit(PATIENCE).await;
        assert!(migrated.success(), "{}", migrate.output_so_far());
        let port = free_port();
        let intake = launch(&["intake"], &database, &rabbit, &dir)
            .env("LONGSHORE_LISTEN", format!("127.0.0.1:{port}"))
            .start();
        ready(port).await;
        Self {
            api: Api::new(format!("http://127.0.0.1:{port}")),
            _intake: intake,
            rabbit,
            database,
            dir,
        }
    }

    async fn worker(&self) -> Program {
        let port = free_port();
        let worker = launch(&["work"], &self.database, &self.rabbit, &self.dir)
            .env("LONGSHORE_HEALTH_LISTEN", format!("127.0.0.1:{port}"))
            .start();
        ready(port).await;
        worker
    }

    /// As a shop does: again under the same key until it is accepted.
    async fn submit(&self, kind: &str, payload: Value) {
        let key = payload["order"].as_str().unwrap_or("delivery").to_owned();
        let body = json!({"kind": kind, "payload": payload});
        until("it is accepted", PATIENCE, async || {
            let key = [("Idempotency-Key", key.as_str())];
            let answer = self.api.post_with("/v1/jobs", &body, &key).await;
            (answer.status != 503).then(|| answer.expect(202))
        })
        .await;
    }

    /// How many jobs have not ended.
    async fn live(&self) -> i64 {
        let mut db = self.connect().await;
        let live = sqlx::query_scalar("SELECT count(*) FROM longshore.live");
        live.fetch_one(&mut db).await.unwrap()
    }

    async fn connect(&self) -> sqlx::PgConnection {
        let url = self.database.url();
        sqlx::PgConnection::connect(url).await.unwrap()
    }

    /// By the first column the second.
    async fn table(&self, question: &'static str) -> BTreeMap<String, String> {
        let mut db = self.connect().await;
        let rows: Vec<(String, String)> =
            sqlx::query_as(question).fetch_all(&mut db).await.unwrap();
        rows.into_iter().collect()
    }

    /// How often each subject was mailed, and to how many files.
    fn mails(&self) -> BTreeMap<String, usize> {
        let mut mails = BTreeMap::new();
        for file in std::fs::read_dir(self.dir.join("mail")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|ending| ending != "eml") {
                continue; // what a killed writer left
            }
            let mail = std::fs::read_to_string(path).unwrap();
            let subject = mail.lines().find_map(|line| line.strip_prefix("Subject: "));
            *mails.entry(subject.unwrap().to_owned()).or_default() += 1;
        }
        mails
    }
}

fn launch(arguments: &[&str], database: &Database, rabbit: &Rabbit, dir: &TestDir) -> Launch {
    program(example(), arguments)
        .env("DATABASE_URL", database.url())
        .env("AMQP_URL", rabbit.url())
        .env("STRIPE_API_KEY", "sandbox")
        .env("LONGSHORE_DATA_DIR", dir.path())
        .env("SMTP_URL", format!("file://{}/mail", dir.path().display()))
        .env("LONGSHORE_LOG_FORMAT", "text")
}

async fn ready(port: u16) {
    let health = Api::new(format!("http://127.0.0.1:{port}"));
    until("the process is ready", PATIENCE, async || {
        let status = health.status("/readyz").await?;
        status.is_success().then_some(())
    })
    .await;
}

/// Every fifth card is declined.
fn order(n: usize) -> Value {
    let card = match n % 5 {
        0 => "pm_card_chargeDeclined",
        _ => "pm_card_visa",
    };
    json!({
        "order": format!("o-{n}"), "items": [{"sku": "tea", "quantity": 1 + n % 2}],
        "amount": 100 + n, "currency": "EUR", "payment_method": card, "email": "ada@example.com",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_is_paid_taken_and_receipted_or_none_of_it() {
    let fault = fault!("Fourteen workers are killed while orders are charged, taken and mailed");
    let shop = Shop::open().await;
    let mut workers = [shop.worker().await, shop.worker().await];
    let delivery = json!({"sku": "tea", "delta": UNITS, "reason": "delivery"});
    shop.submit("inventory.adjust", delivery).await;
    until("the delivery is in", PATIENCE, async || {
        (shop.live().await == 0).then_some(())
    })
    .await;

    let placing = stream::iter(0..ORDERS).for_each_concurrent(4, async |n| {
        shop.submit("order.place", order(n)).await;
        // Spread over the kills.
        tokio::time::sleep(Duration::from_millis(120)).await;
    });
    let killing = async {
        for kill in 0..KILLS {
            tokio::time::sleep(Duration::from_millis(150 + 97 * (kill as u64 % 7))).await;
            let next = shop.worker().await;
            std::mem::replace(&mut workers[kill % 2], next).kill9();
        }
    };
    tokio::join!(placing, killing);
    let patience = 3 * PATIENCE;
    until("every job has ended", patience, async || {
        (shop.live().await == 0).then_some(())
    })
    .await;
    adds_up(&shop, fault).await;
}

async fn adds_up(shop: &Shop, fault: Fault) {
    let payments = shop
        .table("SELECT reference, state FROM longshore.payments")
        .await;
    let reservations = shop
        .table("SELECT order_id, state FROM longshore.reservations")
        .await;
    let mails = shop.mails();
    let (mut taken, mut ends) = (0, [0; 3]);
    for n in 0..ORDERS {
        let number = format!("o-{n}");
        let paid = payments.get(&number).map(String::as_str);
        let stock = reservations.get(&number).map(String::as_str);
        let receipts = mails.get(&format!("Receipt for {number}")).copied();
        let apologies = mails.get(&format!("Sorry about {number}")).copied();
        let end = match (paid, stock, receipts, apologies) {
            (Some("succeeded"), Some("committed"), Some(1), None) => 0,
            (Some("refused"), Some("released"), None, Some(1)) => 1,
            (None, None, None, Some(1)) => 2,
            other => panic!("{number}: {other:?}"),
        };
        if end == 0 {
            taken += 1 + i64::try_from(n % 2).unwrap();
        }
        ends[end] += 1;
    }
    assert!(ends.iter().all(|count| *count > 0), "{ends:?}");
    let left = shop
        .table("SELECT sku, on_hand || ' ' || reserved FROM longshore.stock")
        .await;
    assert_eq!(left["tea"], format!("{} 0", UNITS - taken), "{ends:?}");
    let charged = at_the_gateway(shop).await;
    assert_eq!(charged.len(), ends[0], "charged more often than paid");
    assert!(charged.values().all(|times| *times == 1), "{charged:?}");
    let mut doctor = launch(&["doctor"], &shop.database, &shop.rabbit, &shop.dir).start();
    doctor.wait_exit(PATIENCE).await;
    let said = doctor.stdout();
    assert_eq!(said.matches("adds up").count(), 3, "{said}");
    assert!(said.contains("none missing"), "{said}");

    let mailed: usize = mails.values().sum();
    let charges: usize = charged.values().sum();
    let mut db = shop.connect().await;
    // What a job refuses for good is an answer.
    let (accepted, failed): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT sum(accepted)::bigint FROM longshore.tally),
                (SELECT count(*) FROM longshore.attempt WHERE error_class <> 'permanent')",
    )
    .fetch_one(&mut db)
    .await
    .unwrap();
    fault.hand_in(Figures {
        accepted: usize::try_from(accepted).unwrap(),
        lost: ORDERS - mails.len() + ends[0] - charged.len(),
        twice: mailed - mails.len() + charges - charged.len(),
        unknown: 0,
        burned: usize::try_from(failed).unwrap(),
    });
}

/// How often each amount was charged; an order has an amount of its own.
async fn at_the_gateway(shop: &Shop) -> BTreeMap<i64, usize> {
    let files = std::fs::read_dir(shop.dir.path()).unwrap();
    let file = files.map(|file| file.unwrap().path()).find(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.contains("sandbox") && name.ends_with(".db")
    });
    let url = format!("sqlite://{}?mode=ro", file.unwrap().display());
    let mut db = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let question = "SELECT amount FROM intent WHERE status = 'succeeded'";
    let amounts: Vec<i64> = sqlx::query_scalar(question)
        .fetch_all(&mut db)
        .await
        .unwrap();
    let mut charged = BTreeMap::new();
    for amount in amounts {
        *charged.entry(amount).or_default() += 1;
    }
    charged
}
