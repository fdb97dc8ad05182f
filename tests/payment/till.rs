//! The real program, its services and its gateway, all processes.

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
    pub rabbit: Rabbit,
    pub database: Database,
    pub dir: TestDir,
    pub api: Api,
    pub gateway: LocalStripe,
    pub line: BadLine,
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

    pub fn launch(&self, arguments: &[&str]) -> Launch {
        longshore(arguments)
            .env("DATABASE_URL", self.database.url())
            .env("AMQP_URL", self.rabbit.url())
            .env("LONGSHORE_QUEUES", self.dir.join("queues.toml"))
            .env("STRIPE_API_KEY", KEY)
            .env("STRIPE_API_BASE", &self.line.url)
            .env("LONGSHORE_LOG", "warn,longshore::worker=error")
    }

    pub async fn worker(&self) -> Program {
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
                let key = uuid::Uuid::now_v7().to_string();
                let headers = [("Idempotency-Key", key.as_str())];
                // A machine with more to do than it can makes the store silent for a while.
                until("the job is accepted", PATIENCE, async || {
                    let answer = self.api.post_with("/v1/jobs", &body, &headers).await;
                    if answer.status == 503 {
                        return None;
                    }
                    Some(answer.expect(202)["id"].as_str().unwrap().to_owned())
                })
                .await
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

    /// Waits until this worker is in the middle of jobs: a kill that meets nobody at work shows
    /// nothing.
    pub async fn at_work(&self, worker: &Program) {
        let mut connection = PgConnection::connect(self.database.url()).await.unwrap();
        until("the worker is at work", PATIENCE, async || {
            let busy: bool = sqlx::query_scalar(
                "SELECT EXISTS (
                     SELECT FROM longshore.live l JOIN longshore.process p ON p.id = l.owner
                     WHERE l.state = 2 AND p.state = 0 AND p.name LIKE '%/' || $1::text)",
            )
            .bind(i64::from(worker.pid()))
            .fetch_one(&mut connection)
            .await
            .unwrap();
            busy.then_some(())
        })
        .await;
        connection.close().await.unwrap();
    }

    pub async fn payments(&self) -> Vec<PaymentColumns> {
        let mut connection = PgConnection::connect(self.database.url()).await.unwrap();
        let rows = sqlx::query_as(
            "SELECT reference, amount, currency, state, intent, charge, code, refunded
             FROM longshore.payments",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        connection.close().await.unwrap();
        rows
    }

    /// How many jobs `verify` counts, of a sheet that adds up.
    pub async fn verified(&self) -> usize {
        let mut verify = self.launch(&["verify", "--json"]).start();
        let status = verify.wait_exit(PATIENCE).await;
        assert!(status.success(), "{}", verify.output_so_far());
        let sheet: Value = serde_json::from_str(&verify.stdout()).unwrap();
        assert_eq!(sheet["jobs"]["live"], 0, "{sheet}");
        sheet["jobs"]["accepted"]
            .as_u64()
            .unwrap()
            .try_into()
            .unwrap()
    }

    /// What `doctor` finds of the payments.
    pub async fn balance(&self) -> (String, String) {
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

/// Failed attempts that nobody had asked for: the gateway asks for one with 409 and 429, and what
/// it refuses is an answer.
pub fn burned(jobs: &[Value]) -> usize {
    let attempts = jobs
        .iter()
        .flat_map(|job| job["attempts"].as_array().unwrap());
    let failed = attempts.filter(|attempt| {
        let (code, class) = (&attempt["error"]["code"], &attempt["error"]["class"]);
        !code.is_null() && class != "permanent" && !ASKED_FOR.iter().any(|asked| code == asked)
    });
    failed.count()
}

const ASKED_FOR: [&str; 2] = ["gateway_conflict", "gateway_rate_limit"];

#[derive(Debug, sqlx::FromRow)]
pub struct PaymentColumns {
    pub reference: String,
    pub amount: i64,
    pub currency: String,
    pub state: String,
    pub intent: Option<String>,
    pub charge: Option<String>,
    pub code: Option<String>,
    pub refunded: i64,
}

async fn ready(port: u16) {
    let health = Api::new(format!("http://127.0.0.1:{port}"));
    until("the process is ready", PATIENCE, async || {
        let status = health.status("/readyz").await?;
        status.is_success().then_some(())
    })
    .await;
}
