use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::http::Api;
use crate::support::postgres::Postgres;
use crate::support::program::{Launch, Program, free_port, longshore};
use crate::support::rabbit::Rabbit;
use crate::support::smtp::SmtpSink;
use crate::support::wait::{PATIENCE, until};

/// RabbitMQ, PostgreSQL and a mail server of this test, an intake, and workers.
struct Office {
    rabbit: Rabbit,
    _postgres: Postgres,
    smtp: SmtpSink,
    api: Api,
    database: String,
    _intake: Program,
}

impl Office {
    async fn open() -> Self {
        let (rabbit, postgres, smtp) =
            tokio::join!(Rabbit::start(), Postgres::start(), SmtpSink::start());
        let database = postgres.create_database("longshore").await;
        let port = free_port();
        let launch = |arguments: &[&str]| Self::launch(arguments, &database, &rabbit, &smtp);
        let mut migrate = launch(&["migrate"]).start();
        assert!(
            migrate.wait_exit(PATIENCE).await.success(),
            "{}",
            migrate.output_so_far()
        );
        let listen = format!("127.0.0.1:{port}");
        let intake = launch(&["intake"]).env("LONGSHORE_LISTEN", listen).start();
        ready(port).await;
        Self {
            api: Api::new(format!("http://127.0.0.1:{port}")),
            _intake: intake,
            database,
            rabbit,
            _postgres: postgres,
            smtp,
        }
    }

    fn launch(arguments: &[&str], database: &str, rabbit: &Rabbit, smtp: &SmtpSink) -> Launch {
        longshore(arguments)
            .env("DATABASE_URL", database)
            .env("AMQP_URL", rabbit.url())
            .env("SMTP_URL", smtp.url())
            .env("MAIL_FROM", "Harbour <harbour@example.com>")
            .env("LONGSHORE_LOG_FORMAT", "text")
    }

    async fn command(&self, arguments: &[&str]) -> String {
        let mut command = Self::launch(arguments, &self.database, &self.rabbit, &self.smtp).start();
        let status = command.wait_exit(PATIENCE).await;
        assert!(
            status.success(),
            "{arguments:?}: {}",
            command.output_so_far()
        );
        command.stdout()
    }

    async fn worker(&self) -> Program {
        let port = free_port();
        let worker = Self::launch(&["work", "email"], &self.database, &self.rabbit, &self.smtp)
            .env("LONGSHORE_HEALTH_LISTEN", format!("127.0.0.1:{port}"))
            .start();
        ready(port).await;
        worker
    }

    async fn submit(&self, to: &str, subject: &str) -> String {
        let payload = json!({"to": [to], "subject": subject, "text": "Hello."});
        let body = json!({"kind": "email.send", "payload": payload});
        let job = self.api.post("/v1/jobs", &body).await.expect(202);
        job["id"].as_str().unwrap().to_owned()
    }

    async fn ended(&self, id: &str) -> Value {
        until("the job has ended", PATIENCE, async || {
            let job = self
                .api
                .get(&format!("/v1/jobs/{id}?wait=30s"))
                .await
                .expect(200);
            (!job["finished_at"].is_null()).then_some(job)
        })
        .await
    }
}

async fn ready(port: u16) {
    let health = Api::new(format!("http://127.0.0.1:{port}"));
    until("the process is ready", PATIENCE, async || {
        let status = health.status("/readyz").await?;
        status.is_success().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_mails_arrive_once_each_spread_over_two_workers() {
    let office = Office::open().await;
    let _workers = [office.worker().await, office.worker().await];
    let submissions = (0..1000).map(|n| {
        let office = &office;
        async move {
            office
                .submit(&format!("reader-{n}@example.com"), &format!("Issue {n}"))
                .await
        }
    });
    let ids = futures::stream::StreamExt::collect::<Vec<String>>(
        futures::stream::StreamExt::buffer_unordered(futures::stream::iter(submissions), 32),
    )
    .await;
    let mut by_worker: BTreeMap<String, usize> = BTreeMap::new();
    for id in &ids {
        let job = office.ended(id).await;
        assert_eq!(
            (&job["state"], &job["attempt"]),
            (&json!("succeeded"), &json!(1)),
            "{job}"
        );
        let worker = job["attempts"][0]["worker"].as_str().unwrap();
        *by_worker.entry(worker.to_owned()).or_default() += 1;
    }
    let mails = office.smtp.mails();
    let subjects: BTreeSet<&str> = mails.iter().map(|mail| mail.subject.as_str()).collect();
    assert_eq!((mails.len(), subjects.len()), (1000, 1000));
    let message_ids: BTreeSet<&str> = mails.iter().map(|mail| mail.message_id.as_str()).collect();
    for id in &ids {
        assert!(
            message_ids.contains(format!("<{id}@example.com>").as_str()),
            "{id}"
        );
    }
    assert_eq!(by_worker.len(), 2, "one worker did it all: {by_worker:?}");
    assert!(
        by_worker.values().all(|count| *count >= 100),
        "lopsided: {by_worker:?}"
    );

    let columns = [
        "name",
        "type",
        "durable",
        "messages_unacknowledged",
        "messages_ready",
    ];
    let wanted = [
        "longshore.email",
        "longshore.email.dead",
        "longshore.email.high",
        "longshore.inventory",
        "longshore.inventory.dead",
        "longshore.inventory.high",
        "longshore.payment",
        "longshore.payment.dead",
        "longshore.payment.high",
    ];
    until("nothing is left on the broker", PATIENCE, async || {
        let mut arguments = vec!["-q", "--no-table-headers", "list_queues"];
        arguments.extend(columns);
        let text = office.rabbit.ctl(&arguments).await;
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        let expected: Vec<String> = wanted
            .iter()
            .map(|name| format!("{name}\tquorum\ttrue\t0\t0"))
            .collect();
        (lines == expected).then_some(())
    })
    .await;
    let topology = office.command(&["topology", "--json"]).await;
    assert!(
        topology.lines().all(|line| line.contains("\"declared\"")),
        "{topology}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_put_off_twice_is_sent_once_with_its_attempts_on_record() {
    let office = Office::open().await;
    let _worker = office.worker().await;
    office.smtp.behave(&json!({"rcpt": 452}));
    let id = office.submit("slow@example.com", "Patience").await;
    for attempt in 1..=2 {
        until("the attempt is on record", PATIENCE, async || {
            let job = office.api.get(&format!("/v1/jobs/{id}")).await.expect(200);
            (job["attempts"].as_array()?.len() >= attempt).then_some(())
        })
        .await;
    }
    office.smtp.behave_well();
    let job = office.ended(&id).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let attempts = job["attempts"].as_array().unwrap();
    let (failed, last) = attempts.split_at(attempts.len() - 1);
    assert!(failed.len() >= 2);
    for (index, attempt) in failed.iter().enumerate() {
        assert_eq!(attempt["number"], index + 1);
        assert_eq!(attempt["outcome"], "failed");
        assert_eq!(attempt["error"]["code"], "smtp_452", "{attempt}");
        assert!(attempt["started_at"].is_string() && attempt["finished_at"].is_string());
    }
    assert_eq!(last[0]["outcome"], "succeeded");
    // 1 s then 2 s, each give or take a half: the delays may not be shorter than the policy's.
    let at = |attempt: &Value, key: &str| -> chrono::DateTime<chrono::Utc> {
        attempt[key].as_str().unwrap().parse().unwrap()
    };
    for (index, pair) in attempts.windows(2).enumerate() {
        let delay = at(&pair[1], "started_at") - at(&pair[0], "finished_at");
        let least = 500 * (1 << index.min(9));
        assert!(
            delay.num_milliseconds() >= least,
            "delay {index} was {delay}"
        );
    }
    assert_eq!(office.smtp.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_mail_is_dead_at_once_and_sent_after_a_requeue() {
    let office = Office::open().await;
    let _worker = office.worker().await;
    office.smtp.behave(&json!({"rcpt": 550}));
    let id = office.submit("gone@example.com", "Hello?").await;
    let job = office.ended(&id).await;
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&json!("dead"), &json!(1)),
        "{job}"
    );
    assert_eq!(job["error"]["code"], "smtp_550");
    assert_eq!(job["error"]["class"], "permanent");
    let listed = office.command(&["dlq", "list", "email"]).await;
    assert!(
        listed.contains(&id) && listed.contains("smtp_550"),
        "{listed}"
    );
    until(
        "the broker's dead letters are ingested",
        PATIENCE,
        async || {
            let arguments = [
                "-q",
                "--no-table-headers",
                "list_queues",
                "name",
                "messages",
            ];
            let text = office.rabbit.ctl(&arguments).await;
            text.contains("longshore.email.dead\t0").then_some(())
        },
    )
    .await;
    office.smtp.behave_well();
    let sent = office.command(&["dlq", "requeue", "email", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&sent).unwrap()["requeued"], 1);
    let job = office.ended(&id).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(office.smtp.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_mail_server_down_mails_wait_and_no_attempt_is_counted() {
    let mut office = Office::open().await;
    let _worker = office.worker().await;
    office.smtp.stop();
    let id = office.submit("later@example.com", "Outage").await;
    until("it waits for the mail server", PATIENCE, async || {
        let job = office.api.get(&format!("/v1/jobs/{id}")).await.expect(200);
        (job["state"] == "retrying").then_some(job)
    })
    .await;
    let job = office.api.get(&format!("/v1/jobs/{id}")).await.expect(200);
    assert_eq!(job["error"]["class"], "unavailable", "{job}");
    assert_eq!(job["attempts"], json!([]));
    office.smtp.restart().await;
    let job = office.ended(&id).await;
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&json!("succeeded"), &json!(1)),
        "{job}"
    );
    assert_eq!(office.smtp.mails().len(), 1);
}
