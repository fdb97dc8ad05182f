//! Whether the ledger adds up, on both databases: by the program itself, and after every change
//! that somebody could make by hand.

use serde_json::json;
use sqlx::Connection;

use crate::embedded::{end, started};
use crate::payment::BALANCE;
use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::program::{Launch, longshore};
use crate::support::shared::Database;
use crate::support::wait::{PATIENCE, until};

/// One process in a folder of its own, on either database.
struct Place {
    dir: TestDir,
    postgres: Option<Database>,
}

impl Place {
    fn sqlite() -> Self {
        Self {
            dir: TestDir::new("ledger"),
            postgres: None,
        }
    }

    async fn postgres() -> Self {
        Self {
            postgres: Some(Database::create().await),
            ..Self::sqlite()
        }
    }

    fn program(&self, arguments: &[&str]) -> Launch {
        let program = longshore(arguments).within(self.dir.path());
        match &self.postgres {
            Some(database) => program.env("DATABASE_URL", database.url()),
            None => program,
        }
    }

    /// What the first column of a question says after a change; the change is taken back unless
    /// it is to be kept.
    async fn ask(&self, change: &str, question: [&'static str; 2], keep: bool) -> Vec<String> {
        let change = sqlx::AssertSqlSafe(change.to_owned());
        match &self.postgres {
            Some(database) => {
                let mut connection = sqlx::PgConnection::connect(database.url()).await.unwrap();
                let mut tx = connection.begin().await.unwrap();
                sqlx::raw_sql("SET LOCAL search_path = longshore")
                    .execute(&mut *tx)
                    .await
                    .unwrap();
                sqlx::raw_sql(change).execute(&mut *tx).await.unwrap();
                let found = sqlx::query_scalar(question[0]).fetch_all(&mut *tx).await;
                if keep {
                    tx.commit().await.unwrap();
                }
                found.unwrap()
            }
            None => {
                let options = sqlx::sqlite::SqliteConnectOptions::new()
                    .filename(self.dir.join(".longshore/longshore.db"))
                    .busy_timeout(PATIENCE);
                let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
                let mut tx = connection.begin().await.unwrap();
                sqlx::raw_sql(change).execute(&mut *tx).await.unwrap();
                let found = sqlx::query_scalar(question[1]).fetch_all(&mut *tx).await;
                if keep {
                    tx.commit().await.unwrap();
                }
                found.unwrap()
            }
        }
    }

    async fn differences(&self, change: &str) -> Vec<String> {
        self.ask(change, [BALANCE.postgres, BALANCE.sqlite], false)
            .await
    }

    async fn state(&self, reference: &str) -> Vec<String> {
        let change = format!("UPDATE payments SET code = code WHERE reference = '{reference}'");
        let sql = "SELECT reference || ' ' || state FROM payments";
        let all = self.ask(&change, [sql, sql], false).await;
        all.into_iter()
            .filter(|line| line.starts_with(reference))
            .collect()
    }
}

async fn charge(api: &Api, reference: &str, method: &str) -> serde_json::Value {
    let payload = json!({
        "amount": 4200, "currency": "EUR", "payment_method": method, "reference": reference,
    });
    end(api, "payment.charge", payload).await
}

async fn every_change_by_hand_is_found(place: Place) {
    let (mut process, api) = started(place.program(&["dev"])).await;
    charge(&api, "order-1", "pm_card_visa").await;
    charge(&api, "order-2", "pm_card_chargeDeclined").await;
    charge(&api, "order-3", "pm_card_visa").await;
    // By a second job, which gets what the first got.
    charge(&api, "order-3", "pm_card_visa").await;
    let refund = json!({"reference": "order-1", "amount": 1000});
    let back = end(&api, "payment.refund", refund).await;
    assert_eq!(back["amount"], 1000, "{back}");
    process.kill9();
    let none: Vec<String> = Vec::new();
    assert_eq!(place.differences("SELECT 1").await, none);
    for (change, named) in [
        (
            "UPDATE payments SET refunded = 1 WHERE reference = 'order-1'",
            "order-1",
        ),
        (
            "UPDATE payments SET amount = 4201 WHERE reference = 'order-3'",
            "order-3",
        ),
        (
            "UPDATE payments SET currency = 'usd' WHERE reference = 'order-3'",
            "order-3",
        ),
        (
            "UPDATE payments SET intent = 'pi_x' WHERE reference = 'order-3'",
            "order-3",
        ),
        (
            "UPDATE payments SET charge = 'ch_x' WHERE reference = 'order-3'",
            "order-3",
        ),
        (
            "UPDATE payments SET charge = NULL WHERE reference = 'order-3'",
            "order-3",
        ),
        (
            "UPDATE payments SET reference = 'order-4' WHERE reference = 'order-3'",
            "order-3",
        ),
        (
            "DELETE FROM payments WHERE reference = 'order-3'",
            "order-3",
        ),
        (
            "UPDATE payments SET state = 'open' WHERE reference = 'order-3'",
            "order-3",
        ),
        (
            "UPDATE payments SET state = 'refused', code = 'x' WHERE reference = 'order-3'",
            "order-3",
        ),
        (
            "UPDATE payments SET state = 'succeeded' WHERE reference = 'order-2'",
            "order-2",
        ),
        (
            "UPDATE payments SET state = 'processing' WHERE reference = 'order-2'",
            "order-2",
        ),
        ("UPDATE refunds SET amount = 999", "order-1"),
        ("UPDATE refunds SET refund = 're_x'", "order-1"),
        (
            "UPDATE refunds SET state = 'refused', code = 'x'",
            "order-1",
        ),
        ("UPDATE refunds SET state = 'open'", "order-1"),
        ("UPDATE refunds SET reference = 'order-3'", "order-1"),
        ("DELETE FROM refunds", "order-1"),
        (
            "DELETE FROM refunds; UPDATE payments SET refunded = 0 WHERE reference = 'order-1'",
            "order-1",
        ),
        (
            "UPDATE refunds SET amount = 900; UPDATE payments SET refunded = 900 WHERE reference = 'order-1'",
            "order-1",
        ),
    ] {
        let found = place.differences(change).await;
        let named = format!("payment {named}:");
        assert!(
            found.iter().any(|line| line.starts_with(&named)),
            "{change}: {found:?}"
        );
    }
}

/// Submits a charge that the bank takes its time for, and cancels it while it does.
async fn cancelled_while_processing(api: &Api, reference: &str) {
    let payload = json!({
        "amount": 4200, "currency": "EUR", "payment_method": "pm_sandbox_processing",
        "reference": reference,
    });
    let body = json!({"kind": "payment.charge", "payload": payload});
    let job = api.post("/v1/jobs", &body).await.expect(202);
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    until("the bank was asked", PATIENCE, async || {
        let job = api.get(&path).await.expect(200);
        (job["error"]["code"] == "payment_processing").then_some(())
    })
    .await;
    let cancelled = api.post(&format!("{path}/cancel"), &json!({})).await;
    assert_eq!(cancelled.expect(200)["state"], "cancelled");
}

async fn what_became_of_a_cancelled_charge_is_learnt(place: Place) {
    let (mut process, api) = started(place.program(&["dev"])).await;
    cancelled_while_processing(&api, "order-1").await;
    let back = end(&api, "payment.refund", json!({"reference": "order-1"})).await;
    assert_eq!(back["amount"], 4200, "by who wants it back: {back}");
    cancelled_while_processing(&api, "order-2").await;
    process.kill9();
    let found = place.differences("SELECT 1").await;
    assert!(
        found.len() == 1 && found[0].starts_with("payment order-2: it is processing"),
        "{found:?}"
    );
    let [age_postgres, age_sqlite] = [
        "UPDATE payments SET updated_at = now() - interval '2 minutes' WHERE reference = 'order-2'",
        "UPDATE payments SET updated_at = datetime('now', '-2 minutes') WHERE reference = 'order-2'",
    ];
    let aged = if place.postgres.is_some() {
        age_postgres
    } else {
        age_sqlite
    };
    // The sandbox's bank answers after two seconds.
    tokio::time::sleep(std::time::Duration::from_millis(2200)).await;
    place.ask(aged, ["SELECT ''", "SELECT ''"], true).await;
    let (mut process, api) = started(place.program(&["dev"])).await;
    charge(&api, "order-3", "pm_card_visa").await;
    let learnt = place.state("order-2").await;
    assert_eq!(learnt, ["order-2 succeeded"], "by the next payment's job");
    assert_eq!(place.differences("SELECT 1").await, Vec::<String>::new());
    process.kill9();
}

macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::Place::postgres().await).await;
            })*
        }
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::Place::sqlite()).await;
            })*
        }
    };
}

on_both!(
    every_change_by_hand_is_found,
    what_became_of_a_cancelled_charge_is_learnt,
);
