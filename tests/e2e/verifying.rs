//! `longshore verify`: the balance sheet, and which row was changed by hand.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::dev::Dev;
use crate::support::program::{Launch, free_port, longshore};
use crate::support::shared::{self, Database};
use crate::support::wait::PATIENCE;

async fn tamper(dev: &Dev, statements: &str) {
    let options = SqliteConnectOptions::new()
        .filename(dev.dir.join(".longshore/longshore.db"))
        .foreign_keys(false);
    let mut file = options.connect().await.unwrap();
    let statements = AssertSqlSafe(statements.to_owned());
    sqlx::raw_sql(statements).execute(&mut file).await.unwrap();
    file.close().await.unwrap();
}

async fn succeed(dev: &Dev, kind: &str, payload: Value) -> String {
    let body = json!({"kind": kind, "payload": payload});
    let job = dev.api.post("/v1/jobs", &body).await.expect(202);
    let id = job["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/jobs/{id}?wait=60s");
    let job = dev.api.get(&path).await.expect(200);
    assert_eq!(job["state"], "succeeded", "{job}");
    id
}

async fn verify(dev: &Dev) -> (Option<i32>, Value) {
    let (code, out, err) = dev.run(&["verify", "--json"]).await;
    assert_eq!(out.lines().count(), 1, "{out}{err}");
    (code, serde_json::from_str(&out).unwrap())
}

fn told(sheet: &Value, check: &str) -> String {
    let checks = sheet["checks"].as_array().unwrap();
    let check = checks.iter().find(|one| one["name"] == check).unwrap();
    check.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_by_hand_is_named_embedded() {
    let dev = Dev::start().await;
    let charge = json!({"amount": 4200, "currency": "EUR", "payment_method": "pm_card_visa",
        "reference": "order-7"});
    let job = succeed(&dev, "payment.charge", charge).await;
    let refund = json!({"reference": "order-7", "amount": 1000});
    succeed(&dev, "payment.refund", refund).await;
    let stock = json!({"sku": "TEA-250", "delta": 40, "reason": "delivery"});
    succeed(&dev, "inventory.adjust", stock).await;

    let (code, out, err) = dev.run(&["verify"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    for text in [
        "accepted",
        "charged EUR 4200",
        "refunded EUR 1000",
        "on hand 40",
        "It adds up.",
    ] {
        assert!(out.contains(text), "{text}: {out}");
    }
    let (code, sheet) = verify(&dev).await;
    assert_eq!(
        (code, &sheet["balanced"]),
        (Some(0), &json!(true)),
        "{sheet}"
    );
    assert_eq!(
        (&sheet["jobs"]["accepted"], &sheet["missing"]),
        (&json!(3), &json!(0))
    );

    let mut watch = dev.command(&["verify", "--watch"]).start();
    watch.wait_for_line("adds up: 3 accepted", PATIENCE).await;
    for (change, back, check, name) in [
        (
            "UPDATE payments SET amount = 4300",
            "UPDATE payments SET amount = 4200",
            "payments",
            "order-7",
        ),
        (
            "UPDATE payments SET refunded = 900",
            "UPDATE payments SET refunded = 1000",
            "payments",
            "order-7",
        ),
        (
            "CREATE TABLE kept AS SELECT * FROM payments; DELETE FROM payments",
            "INSERT INTO payments SELECT * FROM kept; DROP TABLE kept",
            "payments",
            &job,
        ),
        (
            "UPDATE stock SET on_hand = 41",
            "UPDATE stock SET on_hand = 40",
            "stock",
            "TEA-250",
        ),
        (
            "UPDATE tally SET accepted = accepted + 1 WHERE accepted > 0",
            "UPDATE tally SET accepted = accepted - 1 WHERE accepted > 0",
            "jobs",
            "1 more were accepted",
        ),
    ] {
        tamper(&dev, change).await;
        let (code, sheet) = verify(&dev).await;
        assert_eq!(
            (code, &sheet["balanced"]),
            (Some(1), &json!(false)),
            "{change}: {sheet}"
        );
        let told = told(&sheet, check);
        assert!(told.contains(name), "{change}: {told}");
        tamper(&dev, back).await;
    }
    tamper(&dev, "UPDATE stock SET on_hand = 42").await;
    let line = watch.wait_for_line("does not add up", PATIENCE).await;
    assert!(line.contains("TEA-250"), "{line}");
    watch.term();
    assert_eq!(watch.wait_exit(PATIENCE).await.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_by_hand_is_named_on_postgresql() {
    let database = Database::create().await;
    let launch = |arguments: &[&str], amqp: &str| -> Launch {
        longshore(arguments)
            .env("DATABASE_URL", database.url())
            .env("AMQP_URL", amqp)
    };
    let run = async |arguments: &[&str], amqp: &str| {
        let mut command = launch(arguments, amqp).start();
        let code = command.wait_exit(PATIENCE).await.code();
        (code, command.stdout(), command.stderr())
    };
    let amqp = shared::amqp_url();
    let (code, _, err) = run(&["migrate"], &amqp).await;
    assert_eq!(code, Some(0), "{err}");
    let (code, out, err) = run(&["verify"], &amqp).await;
    assert_eq!(code, Some(0), "{out}{err}");
    // A broker that is away is no imbalance.
    let nowhere = format!("amqp://127.0.0.1:{}", free_port());
    let (code, out, err) = run(&["verify"], &nowhere).await;
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("No broker was compared"), "{out}");

    let job = "01890a5d-ac96-774b-bcce-b302099a8057";
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let rows = format!(
        r#"INSERT INTO longshore.job (id, kind, queue, payload, high, tags, created_at)
         VALUES ('{job}', 'payment.charge', 'payment', '{{}}', false, '{{}}', now());
         INSERT INTO longshore.done (id, kind, queue, state, dispatch, epoch, failures, recorded,
                                     finished_at, result)
         VALUES ('{job}', 'payment.charge', 'payment', 4, 1, 1, 0, 0, now(),
                 '{{"reference": "order-8", "amount": 4200, "currency": "eur", "payment_intent": "pi_1",
                    "charge": "ch_1"}}');
         INSERT INTO longshore.tally (process, slot, accepted) VALUES (0, 0, 1);
         INSERT INTO longshore.payments (reference, job, fingerprint, amount, currency, state,
                                         intent, charge)
         VALUES ('order-8', '{job}', 'x', 4200, 'eur', 'succeeded', 'pi_1', 'ch_1');
         INSERT INTO longshore.stock (sku, on_hand) VALUES ('TEA-250', 40);
         INSERT INTO longshore.movements (sku, kind, on_hand, reserved, reason, job, at)
         VALUES ('TEA-250', 'adjust', 40, 0, 'delivery', '{job}', now())"#
    );
    let change = async |connection: &mut PgConnection, statements: &str| {
        let statements = AssertSqlSafe(statements.to_owned());
        sqlx::raw_sql(statements).execute(connection).await.unwrap();
    };
    change(&mut connection, &rows).await;
    let (code, out, err) = run(&["verify"], &amqp).await;
    assert_eq!(code, Some(0), "{out}{err}");
    for (statement, name) in [
        ("UPDATE longshore.payments SET amount = 4100", "order-8"),
        ("DELETE FROM longshore.payments", "order-8"),
        ("UPDATE longshore.stock SET on_hand = 39", "TEA-250"),
        ("DELETE FROM longshore.movements", "TEA-250"),
        ("DELETE FROM longshore.done", job),
    ] {
        change(&mut connection, statement).await;
        let (code, out, err) = run(&["verify"], &amqp).await;
        assert_eq!(code, Some(1), "{statement}: {out}{err}");
        assert!(out.contains(name), "{statement}: {out}");
    }
    connection.close().await.unwrap();
}
