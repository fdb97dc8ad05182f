//! The real program, its workers killed and frozen while they move stock.

use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};

use crate::support::http::Api;
use crate::support::program::{Launch, Program, free_port, longshore};
use crate::support::rabbit::Rabbit;
use crate::support::record::{Fault, Figures, fault};
use crate::support::shared::Database;
use crate::support::wait::{PATIENCE, until};

const SKUS: [&str; 3] = ["cup", "pot", "tea"];
const UNITS: u64 = 1000;
const ORDERS: u64 = 300;

/// An intake and workers, all processes, on services of this test.
struct Shop {
    rabbit: Rabbit,
    database: Database,
    api: Api,
    _intake: Program,
}

impl Shop {
    async fn open() -> Self {
        let (rabbit, database) = tokio::join!(Rabbit::start(), Database::create());
        let mut migrate = launch(&["migrate"], &database, &rabbit).start();
        assert!(migrate.wait_exit(PATIENCE).await.success());
        let port = free_port();
        let intake = launch(&["intake"], &database, &rabbit)
            .env("LONGSHORE_LISTEN", format!("127.0.0.1:{port}"))
            .start();
        ready(port).await;
        Self {
            api: Api::new(format!("http://127.0.0.1:{port}")),
            _intake: intake,
            rabbit,
            database,
        }
    }

    async fn worker(&self) -> Program {
        let port = free_port();
        let worker = launch(&["work", "inventory"], &self.database, &self.rabbit)
            .env("LONGSHORE_HEALTH_LISTEN", format!("127.0.0.1:{port}"))
            .start();
        ready(port).await;
        worker
    }

    /// Waits until a reservation is made and another one is being made: a kill that meets nobody
    /// at work shows nothing.
    async fn at_work(&self) {
        use sqlx::Connection;
        let mut db = sqlx::PgConnection::connect(self.database.url())
            .await
            .unwrap();
        until("the workers are at work", PATIENCE, async || {
            let found: Option<i32> = sqlx::query_scalar(
                "SELECT 1 WHERE EXISTS (SELECT FROM longshore.reservations)
                   AND EXISTS (SELECT FROM longshore.live WHERE state = 2)",
            )
            .fetch_optional(&mut db)
            .await
            .unwrap();
            found.map(|_| ())
        })
        .await;
        db.close().await.unwrap();
    }

    /// Submits these payloads, many at a time; the jobs' ids.
    async fn submit(&self, kind: &str, payloads: Vec<Value>) -> Vec<String> {
        let submitted = stream::iter(payloads).map(|payload| {
            let body = json!({"kind": kind, "payload": payload});
            async move {
                let job = self.api.post("/v1/jobs", &body).await.expect(202);
                job["id"].as_str().unwrap().to_owned()
            }
        });
        submitted.buffer_unordered(16).collect().await
    }

    /// Waits until all of them have succeeded, with nothing counted against them.
    async fn all_succeed(&self, ids: &[String]) {
        for id in ids {
            let job = until(&format!("{id} has ended"), PATIENCE, async || {
                let job = self.api.get(&format!("/v1/jobs/{id}")).await.expect(200);
                job["finished_at"].is_string().then_some(job)
            })
            .await;
            assert_eq!(job["state"], "succeeded", "{job}");
            assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job}");
        }
    }

    /// What `doctor` finds of one check: its states and details.
    async fn findings(&self, check: &str) -> Vec<(String, String)> {
        let mut doctor = launch(&["doctor", "--json"], &self.database, &self.rabbit).start();
        doctor.wait_exit(PATIENCE).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        doctor
            .stdout()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|finding| finding["check"] == check)
            .map(|finding| (text(&finding["status"]), text(&finding["detail"])))
            .collect()
    }
}

fn launch(arguments: &[&str], database: &Database, rabbit: &Rabbit) -> Launch {
    longshore(arguments)
        .env("DATABASE_URL", database.url())
        .env("AMQP_URL", rabbit.url())
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

fn order(n: u64) -> String {
    format!("order-{n}")
}

/// A unit or two of two of the SKUs.
fn reservation(n: u64) -> Value {
    let sku = |n: u64| SKUS[usize::try_from(n).unwrap() % SKUS.len()];
    json!({
        "order": order(n),
        "items": [
            {"sku": sku(n), "quantity": 1 + n % 2},
            {"sku": sku(n + 1), "quantity": 1},
        ],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_unit_moves_once_while_workers_are_killed_and_frozen() {
    let fault = fault!("Workers are killed and frozen while they move stock");
    let shop = Shop::open().await;
    let mut workers = vec![shop.worker().await, shop.worker().await];
    let stock = SKUS.map(|sku| json!({"sku": sku, "delta": UNITS, "reason": "delivery"}));
    let stocked = shop.submit("inventory.adjust", stock.to_vec()).await;
    shop.all_succeed(&stocked).await;

    let reserving = shop.submit("inventory.reserve", (0..ORDERS).map(reservation).collect());
    let killing = async {
        shop.at_work().await;
        workers[0].kill9();
        shop.at_work().await;
        workers[1].freeze();
        workers.push(shop.worker().await);
    };
    let (reserved, ()) = tokio::join!(reserving, killing);
    shop.all_succeed(&reserved).await;

    let end = |parity| (0..ORDERS).filter(move |n| n % 2 == parity);
    let orders = |parity| end(parity).map(|n| json!({"order": order(n)})).collect();
    // The frozen one wakes among those that work, and learns that it was declared dead.
    workers[1].thaw();
    let mut ended = shop.submit("inventory.commit", orders(0)).await;
    workers[2].kill9();
    workers.push(shop.worker().await);
    ended.extend(shop.submit("inventory.release", orders(1)).await);
    shop.all_succeed(&ended).await;

    for check in ["stock", "balance"] {
        let found = shop.findings(check).await;
        assert!(found.len() == 1 && found[0].0 == "ok", "{check}: {found:?}");
    }
    let mut left = SKUS.map(|_| UNITS);
    for n in end(0) {
        let first = usize::try_from(n).unwrap() % SKUS.len();
        left[first] -= 1;
        left[(first + 1) % SKUS.len()] -= 1;
    }
    let mut jobs = [stocked, reserved, ended].concat();
    let mut astray = 0;
    for (sku, left) in SKUS.iter().zip(left) {
        let probe = json!({"sku": sku, "delta": 1, "reason": "a look"});
        let id = shop.submit("inventory.adjust", vec![probe]).await;
        shop.all_succeed(&id).await;
        let job = shop
            .api
            .get(&format!("/v1/jobs/{}", id[0]))
            .await
            .expect(200);
        let expected =
            json!({"sku": sku, "on_hand": left + 1, "reserved": 0, "available": left + 1});
        assert_eq!(job["result"], expected);
        astray += job["result"]["on_hand"]
            .as_u64()
            .unwrap()
            .abs_diff(left + 1);
        jobs.extend(id);
    }
    hand_in(&shop, fault, &jobs, astray).await;
    by_hand(&shop).await;
}

/// Of the jobs, each of which moved something; and how many units are not where they belong.
async fn hand_in(shop: &Shop, fault: Fault, jobs: &[String], astray: u64) {
    use sqlx::Connection;
    let mut verify = launch(&["verify", "--json"], &shop.database, &shop.rabbit).start();
    let status = verify.wait_exit(PATIENCE).await;
    assert!(status.success(), "{}", verify.output_so_far());
    let sheet: Value = serde_json::from_str(&verify.stdout()).unwrap();
    assert_eq!(sheet["jobs"]["accepted"], jobs.len(), "{sheet}");
    let mut db = sqlx::PgConnection::connect(shop.database.url())
        .await
        .unwrap();
    let (moved, failed): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(DISTINCT job) FROM longshore.movements),
                (SELECT count(*) FROM longshore.attempt)",
    )
    .fetch_one(&mut db)
    .await
    .unwrap();
    db.close().await.unwrap();
    fault.hand_in(Figures {
        accepted: jobs.len(),
        lost: jobs.len() - usize::try_from(moved).unwrap(),
        twice: usize::try_from(astray).unwrap(),
        unknown: 0,
        burned: usize::try_from(failed).unwrap(),
    });
}

/// A row that somebody changes is named.
async fn by_hand(shop: &Shop) {
    use sqlx::Connection;
    let mut db = sqlx::PgConnection::connect(shop.database.url())
        .await
        .unwrap();
    sqlx::raw_sql("UPDATE longshore.stock SET on_hand = on_hand + 1 WHERE sku = 'pot'")
        .execute(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    let found = shop.findings("stock").await;
    assert!(
        found.len() == 1 && found[0].1.starts_with("stock of pot:"),
        "{found:?}"
    );
}
