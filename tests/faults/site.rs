use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::postgres::Postgres;
use crate::support::program::{Launch, Program, free_port, program};
use crate::support::rabbit::Rabbit;
use crate::support::wait::{PATIENCE, until};

/// Short enough that a lost message is found within a test: grace is timeout + 10 s.
const QUEUES: &str = r#"
[queues.probe]
kinds = ["probe.sleep", "probe.fail"]
concurrency = 8
prefetch = 16
timeout = "30s"
[queues.probe.retry]
max_attempts = 3
initial = "300ms"
jitter = 0.0
"#;

/// A broker, a database, an intake and workers, all processes of one test.
pub struct Site {
    pub rabbit: Rabbit,
    pub postgres: Postgres,
    pub api: Api,
    pub intake: Option<Program>,
    port: u16,
    database: String,
    dir: TestDir,
    queues: String,
    /// Where processes reach the broker, if not where it is.
    broker_url: Option<String>,
}

impl Site {
    pub async fn start() -> Self {
        Self::with_queues(QUEUES).await
    }

    pub async fn with_queues(queues: &str) -> Self {
        let (rabbit, postgres) = tokio::join!(Rabbit::start(), Postgres::start());
        let database = postgres.create_database("longshore").await;
        Self::on(rabbit, postgres, database, queues).await
    }

    /// As [`Site::start`], with processes that are no superusers in the database: they are
    /// `role`, which owns it, and the server's limits hold for them.
    pub async fn as_role(role: &str) -> Self {
        let (rabbit, postgres) = tokio::join!(Rabbit::start(), Postgres::start());
        postgres.psql(&format!("CREATE ROLE {role} LOGIN")).await;
        let database = postgres.create_database("longshore").await;
        let owner = format!("ALTER DATABASE longshore OWNER TO {role}");
        postgres.psql(&owner).await;
        let database = database.replacen("//longshore@", &format!("//{role}@"), 1);
        Self::on(rabbit, postgres, database, QUEUES).await
    }

    /// As [`Site::start`], with a broker that is there.
    pub async fn with_broker(rabbit: Rabbit) -> Self {
        let postgres = Postgres::start().await;
        let database = postgres.create_database("longshore").await;
        Self::on(rabbit, postgres, database, QUEUES).await
    }

    async fn on(rabbit: Rabbit, postgres: Postgres, database: String, queues: &str) -> Self {
        let port = free_port();
        let mut site = Self {
            api: Api::new(format!("http://127.0.0.1:{port}")),
            rabbit,
            postgres,
            intake: None,
            port,
            database,
            dir: TestDir::new("site"),
            queues: queues.to_owned(),
            broker_url: None,
        };
        std::fs::write(site.dir.join("queues.toml"), &site.queues).unwrap();
        let mut migrate = site.launch(&["migrate"]).start();
        assert!(migrate.wait_exit(PATIENCE).await.success());
        site.start_intake().await;
        site
    }

    pub async fn start_intake(&mut self) {
        let listen = format!("127.0.0.1:{}", self.port);
        let intake = self
            .launch(&["intake"])
            .env("LONGSHORE_LISTEN", listen)
            .start();
        self.intake = Some(intake);
        self.ready(self.port).await;
    }

    /// A command of the probe program with this site's settings.
    pub fn launch(&self, arguments: &[&str]) -> Launch {
        program(probe(), arguments)
            .env("DATABASE_URL", &self.database)
            .env("AMQP_URL", self.broker_url())
            .env("LONGSHORE_QUEUES", self.dir.join("queues.toml"))
            .env("LONGSHORE_LOG", "info")
            .env("LONGSHORE_LOG_FORMAT", "text")
            .env("PROBE_MARKS", self.marks_file())
    }

    /// From here on processes that start reach the broker by that port of this machine.
    pub fn reach_the_broker_at(&mut self, port: u16) {
        self.reach_brokers_at(format!("amqp://guest:guest@127.0.0.1:{port}/%2f"));
    }

    /// From here on processes that start have this `AMQP_URL`.
    pub fn reach_brokers_at(&mut self, urls: String) {
        self.broker_url = Some(urls);
    }

    fn broker_url(&self) -> String {
        self.broker_url.clone().unwrap_or_else(|| self.rabbit.url())
    }

    /// A worker that is registered with the broker.
    pub async fn worker(&self) -> Program {
        self.worker_with(&[]).await
    }

    pub async fn worker_with(&self, settings: &[(&str, &str)]) -> Program {
        let port = free_port();
        let mut launch = self
            .launch(&["work", "probe"])
            .env("LONGSHORE_HEALTH_LISTEN", format!("127.0.0.1:{port}"));
        for (name, value) in settings {
            launch = launch.env(name, *value);
        }
        let worker = launch.start();
        self.ready(port).await;
        worker
    }

    pub async fn ready(&self, port: u16) {
        let health = Api::new(format!("http://127.0.0.1:{port}"));
        until("the process is ready", PATIENCE, async || {
            let status = health.status("/readyz").await?;
            status.is_success().then_some(())
        })
        .await;
    }

    /// Submits a job; panics unless it is accepted.
    pub async fn submit(&self, kind: &str, payload: Value) -> String {
        let body = json!({"kind": kind, "payload": payload});
        let job = self.api.post("/v1/jobs", &body).await.expect(202);
        job["id"].as_str().unwrap().to_owned()
    }

    /// The same where nobody may accept it yet: tries again, under one key, until it is.
    pub async fn submit_when_accepted(&self, kind: &str, payload: Value) -> String {
        let body = json!({"kind": kind, "payload": payload});
        let key = uuid::Uuid::now_v7().to_string();
        until("the job is accepted", PATIENCE, async || {
            let headers = [("idempotency-key", key.as_str())];
            let answer = self
                .api
                .try_call(Method::POST, "/v1/jobs", Some(&body), &headers);
            let answer = answer.await.ok().filter(|answer| answer.status == 202)?;
            answer.body["id"].as_str().map(str::to_owned)
        })
        .await
    }

    /// Many at once, in batches.
    pub async fn submit_batches(&self, count: usize, ms: u64) -> Vec<String> {
        let job = json!({"kind": "probe.sleep", "payload": {"ms": ms}});
        let mut ids = Vec::with_capacity(count);
        while ids.len() < count {
            let batch = vec![job.clone(); (count - ids.len()).min(1_000)];
            let accepted = self.api.post("/v1/jobs/batch", &json!(batch)).await;
            let accepted = accepted.expect(202);
            let items = accepted["items"].as_array().unwrap().iter();
            ids.extend(items.map(|job| job["id"].as_str().unwrap().to_owned()));
        }
        ids
    }

    pub async fn submit_sleeps(&self, count: usize, ms: u64) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.submit("probe.sleep", json!({"ms": ms})).await);
        }
        ids
    }

    pub async fn job(&self, id: &str) -> Value {
        self.api.get(&format!("/v1/jobs/{id}")).await.expect(200)
    }

    /// Waits until every one of them is in that state; returns them.
    pub async fn all(&self, ids: &[String], state: &str) -> Vec<Value> {
        self.all_within(ids, state, PATIENCE).await
    }

    pub async fn all_within(&self, ids: &[String], state: &str, within: Duration) -> Vec<Value> {
        let mut jobs = Vec::new();
        for id in ids {
            let job = until(&format!("{id} is {state}"), within, async || {
                let path = format!("/v1/jobs/{id}");
                let answer = self.api.try_call(Method::GET, &path, None, &[]);
                let answer = answer.await.ok()?;
                (answer.body["state"] == state).then_some(answer.body)
            })
            .await;
            jobs.push(job);
        }
        jobs
    }

    /// Waits until this many handlers have started.
    pub async fn started(&self, count: usize) {
        until(
            &format!("{count} handlers have started"),
            PATIENCE,
            async || {
                let starts: usize = self.marks().values().map(|marks| marks.starts).sum();
                (starts >= count).then_some(())
            },
        )
        .await;
    }

    /// Nothing is missing and nothing was counted against anyone.
    pub async fn nothing_burned(&self, ids: &[String]) {
        for job in self.all(ids, "succeeded").await {
            assert_eq!(job["attempt"], 1, "an attempt was counted: {job}");
            assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job}");
        }
        self.balanced().await;
    }

    /// Everything in the store adds up, by name.
    pub async fn balanced(&self) -> Value {
        let mut verify = self.launch(&["verify", "--json"]).start();
        let status = verify.wait_exit(PATIENCE).await;
        assert!(status.success(), "{}", verify.output_so_far());
        serde_json::from_str(&verify.stdout()).unwrap()
    }

    /// What `rabbitmqctl list_queues` says of one broker queue: ready, unacknowledged.
    pub async fn depth(&self, queue: &str) -> Option<(u64, u64)> {
        let columns = ["name", "messages_ready", "messages_unacknowledged"];
        let mut arguments = vec!["-q", "--no-table-headers", "list_queues"];
        arguments.extend(columns);
        let text = self.rabbit.ctl(&arguments).await;
        let line = text
            .lines()
            .find(|line| line.split('\t').next() == Some(queue))?;
        let numbers: Vec<u64> = line
            .split('\t')
            .skip(1)
            .map(|n| n.parse().unwrap())
            .collect();
        Some((numbers[0], numbers[1]))
    }

    /// Where the jobs are.
    pub fn database(&self) -> &str {
        &self.database
    }

    pub fn marks_file(&self) -> PathBuf {
        self.dir.join("marks")
    }
}

/// The probe program, built beside the tests.
pub fn probe() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().unwrap().parent().unwrap();
    let probe = target.join("examples").join("probe");
    assert!(probe.exists(), "build it: cargo build --example probe");
    probe
}
