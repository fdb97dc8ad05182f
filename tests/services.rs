//! The services that fault tests rely on do what those tests think they do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod support;

use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use longshore::broker::Broker;
use longshore::broker::amqp::AmqpBroker;
use serde_json::json;

use support::process::was_killed;
use support::program::{longshore, program};
use support::services::{Postgres, Rabbit, SmtpSink};
use support::shared;
use support::wait::{PATIENCE, until};

/// Publishes one persistent message, confirmed, to a durable quorum queue.
async fn publish(url: &str) {
    let connection = Connection::connect(url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare("kept".into(), options, arguments)
        .await
        .unwrap();
    let confirm = channel
        .basic_publish(
            "".into(),
            "kept".into(),
            BasicPublishOptions::default(),
            b"{}",
            BasicProperties::default().with_delivery_mode(2),
        )
        .await
        .unwrap()
        .await
        .unwrap();
    assert!(confirm.is_ack());
    connection.close(200, "done".into()).await.unwrap();
}

async fn messages(rabbit: &Rabbit, expected: &str) {
    let what = format!("the queues hold {expected:?}");
    until(&what, PATIENCE, async || {
        let listed = rabbit.ctl(&["list_queues", "name", "messages"]).await;
        (listed.trim() == expected).then_some(())
    })
    .await;
}

/// A run for one version that gets another would prove nothing. `tests/run` says which it was
/// asked for, if any.
fn is_the_version_asked_for(variable: &str, version: &str) {
    let asked = std::env::var(variable).unwrap_or_default();
    let fits = asked.is_empty() || format!("{version}.").starts_with(&format!("{asked}."));
    assert!(fits, "{variable} is {asked}, but this is {version}");
}

#[tokio::test]
async fn rabbitmq_is_killed_restarted_frozen_and_wiped() {
    let mut rabbit = Rabbit::start().await;
    let version = rabbit.ctl(&["version"]).await;
    is_the_version_asked_for("LONGSHORE_TEST_RABBITMQ_VERSION", version.trim());
    publish(&rabbit.url()).await;
    // RabbitMQ 3.10 writes down only some moments later which files belong to a new quorum
    // queue: killed at once, it comes back with the queue and without its confirmed messages.
    messages(&rabbit, "kept\t1").await;

    rabbit.kill();
    assert!(!rabbit.answers());
    rabbit.restart().await;
    messages(&rabbit, "kept\t1").await;

    rabbit.freeze();
    assert!(!rabbit.answers());
    rabbit.thaw();
    until("it answers again", PATIENCE, async || {
        rabbit.answers().then_some(())
    })
    .await;

    rabbit.restart().await;
    messages(&rabbit, "kept\t1").await;

    rabbit.kill();
    rabbit.wipe();
    rabbit.restart().await;
    messages(&rabbit, "").await;

    publish(&rabbit.vhost().await).await;
    messages(&rabbit, "").await;
    rabbit.stop().await;
    assert!(!rabbit.answers());
}

#[tokio::test]
async fn postgres_is_killed_restarted_frozen_and_wiped() {
    let mut postgres = Postgres::start().await;
    postgres
        .psql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
        .await;
    let version = postgres.psql("SHOW server_version").await;
    let version = version.split(' ').next().unwrap();
    is_the_version_asked_for("LONGSHORE_TEST_POSTGRES_VERSION", version);
    let kept = "SELECT n FROM kept";

    postgres.kill();
    assert!(!postgres.answers().await);
    postgres.restart().await;
    assert_eq!(postgres.psql(kept).await, "7");

    postgres.restart_immediately().await;
    assert_eq!(postgres.psql(kept).await, "7");

    let database = postgres.create_database("other").await;
    let pool = sqlx::PgPool::connect(&database).await.unwrap();
    sqlx::query("SELECT 1").execute(&pool).await.unwrap();
    postgres.freeze();
    assert!(!postgres.answers().await);
    // A backend that was there before is frozen with the rest.
    let stuck = tokio::time::timeout(
        Duration::from_secs(1),
        sqlx::query("SELECT 1").execute(&pool),
    );
    assert!(stuck.await.is_err());
    postgres.thaw();
    sqlx::query("SELECT 1").execute(&pool).await.unwrap();

    // Frozen backends die as well.
    postgres.freeze();
    postgres.kill();
    postgres.wipe();
    postgres.restart().await;
    let tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'";
    assert_eq!(postgres.psql(tables).await, "0");
    postgres.stop().await;
    assert!(!postgres.answers().await);
}

#[tokio::test]
async fn the_shared_services_answer_and_databases_are_apart() {
    let (one, two) = (
        shared::Database::create().await,
        shared::Database::create().await,
    );
    let first = sqlx::PgPool::connect(one.url()).await.unwrap();
    let second = sqlx::PgPool::connect(two.url()).await.unwrap();
    sqlx::query("CREATE TABLE mine (n int)")
        .execute(&first)
        .await
        .unwrap();
    assert!(
        sqlx::query("SELECT * FROM mine")
            .execute(&second)
            .await
            .is_err()
    );

    let version: String = sqlx::query_scalar("SHOW server_version")
        .fetch_one(&first)
        .await
        .unwrap();
    let version = version.split(' ').next().unwrap();
    is_the_version_asked_for("LONGSHORE_TEST_POSTGRES_VERSION", version);
    let greeting = AmqpBroker::connect(&[shared::amqp_url()], &[]).unwrap();
    let version = greeting.version().await.unwrap();
    let version = version.trim_start_matches("RabbitMQ ");
    is_the_version_asked_for("LONGSHORE_TEST_RABBITMQ_VERSION", version);

    let broker = Connection::connect(&shared::amqp_url(), ConnectionProperties::default())
        .await
        .unwrap();
    // Kept: a channel that is closing when its connection closes is an error of lapin's.
    let _channel = broker.create_channel().await.unwrap();
    broker.close(200, "done".into()).await.unwrap();
}

#[tokio::test]
async fn a_program_is_frozen_thawed_terminated_and_killed_with_its_children() {
    let script = "trap 'echo ending; exit 3' TERM; n=0; \
                  while :; do n=$((n+1)); echo \"tick $n $SET $LONGSHORE_LOG\"; sleep 0.05; done";
    let mut ticking = program("sh", ["-c", script]).env("SET", "yes").start();
    let line = ticking.wait_for_line("tick 1", PATIENCE).await;
    assert_eq!(line.trim(), "tick 1 yes");

    ticking.freeze();
    let before = ticking.stdout();
    tokio::time::sleep(Duration::from_millis(500)).await;
    // One line may have been under way.
    assert!(ticking.stdout().lines().count() <= before.lines().count() + 1);
    ticking.thaw();
    let next = format!("tick {} ", before.lines().count() + 3);
    ticking.wait_for_line(&next, PATIENCE).await;
    ticking.term();
    assert_eq!(ticking.wait_exit(PATIENCE).await.code(), Some(3));
    assert!(ticking.output_so_far().contains("ending"));

    // The grandchild has left the process group, as PostgreSQL's backends do.
    let mut parent = program("sh", ["-c", "setsid sleep 1000 & echo $!; wait"]).start();
    parent.wait_for_line("", PATIENCE).await;
    let grandchild = parent.stdout().trim().to_owned();
    until("the grandchild runs", PATIENCE, async || {
        running(&grandchild).then_some(())
    })
    .await;
    parent.kill9();
    assert!(!running(&grandchild));
    assert!(was_killed(parent.wait_exit(PATIENCE).await));
}

/// Anything but gone, or waiting to be reaped.
fn running(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn the_real_program_starts() {
    let mut program = longshore(["--version"]).start();
    let status = program.wait_exit(PATIENCE).await;
    assert!(status.success(), "{status}: {}", program.output_so_far());
}

async fn send(sink: &SmtpSink, to: &str) -> Result<(), String> {
    let mail = Message::builder()
        .from("sender@longshore.test".parse().unwrap())
        .to(to.parse().unwrap())
        .subject("Grüße")
        .message_id(Some("<one@longshore.test>".into()))
        .body("Hello".to_owned())
        .unwrap();
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(sink.port())
        .build();
    let Ok(sent) = tokio::time::timeout(Duration::from_secs(5), transport.send(mail)).await else {
        return Err("no answer".to_owned());
    };
    sent.map(drop).map_err(|error| {
        error
            .status()
            .map_or_else(|| "lost".to_owned(), |code| code.to_string())
    })
}

#[tokio::test]
async fn the_smtp_server_keeps_mail_and_makes_trouble_when_asked() {
    let mut sink = SmtpSink::start().await;
    assert_eq!(send(&sink, "ann@longshore.test").await, Ok(()));
    let mails = sink.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].message_id, "<one@longshore.test>");
    assert_eq!(mails[0].from, "sender@longshore.test");
    assert_eq!(mails[0].rcpts, ["ann@longshore.test"]);
    assert_eq!(mails[0].subject, "Grüße");
    assert!(mails[0].data.contains("Hello"));

    // By the recipient's name.
    let code = |code: u16| Err(code.to_string());
    for (to, answers) in [
        ("reject-550@x.test", vec![code(550), code(550)]),
        ("fail-451-2@x.test", vec![code(451), code(451), Ok(())]),
        ("data-452-1@x.test", vec![code(452), Ok(())]),
    ] {
        for answer in answers {
            assert_eq!(send(&sink, to).await, answer, "{to}");
        }
    }
    assert_eq!(sink.mails().len(), 3);

    // For everybody, at each stage; `kept`: whether the mail is kept all the same.
    for (trouble, answer, kept) in [
        (json!({"connect": 421}), code(421), 0),
        (json!({"helo": 421}), code(421), 0),
        (json!({"mail": 451}), code(451), 0),
        (json!({"rcpt": 450}), code(450), 0),
        (json!({"data": 554}), code(554), 0),
        (json!({"delay": 30}), Err("no answer".to_owned()), 0),
        (json!({"cut": "before-data"}), Err("lost".to_owned()), 0),
        (json!({"cut": "in-data"}), Err("lost".to_owned()), 0),
        (json!({"cut": "after-data"}), Err("lost".to_owned()), 1),
    ] {
        let before = sink.mails().len();
        sink.behave(&trouble);
        assert_eq!(send(&sink, "ann@x.test").await, answer, "{trouble}");
        assert_eq!(sink.mails().len(), before + kept, "{trouble}");
    }

    sink.behave_well();
    sink.stop();
    assert_eq!(send(&sink, "ann@x.test").await, Err("lost".to_owned()));
    sink.restart().await;
    assert_eq!(send(&sink, "ann@x.test").await, Ok(()));
    assert_eq!(sink.mails().len(), 5);
}
