//! What the jobs need is down: they wait, none loses an attempt, and the dependency is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::dir::TestDir;
use crate::support::door::Door;
use crate::support::http::Api;
use crate::support::postgres::Postgres;
use crate::support::program::{Launch, Program, free_port, longshore};
use crate::support::rabbit::Rabbit;
use crate::support::record::{Fault, Figures, fault};
use crate::support::smtp::SmtpSink;
use crate::support::wait::{PATIENCE, until};

const CONCURRENCY: usize = 16;
const FAILURES: usize = 5;
const COOLDOWN: u64 = 2;

const QUEUES: &str = r#"
[queues.email]
kinds = ["email.send"]
concurrency = 16
prefetch = 64
timeout = "60s"
[queues.email.retry]
max_attempts = 3
[queues.email.breaker]
failures = 5
cooldown = "2s"
"#;

/// How the mail server is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Away {
    /// Connections are refused.
    Shut,
    /// It takes them and says nothing.
    Silent,
}

impl Away {
    const fn code(self) -> &'static str {
        match self {
            Self::Shut => "smtp_cut",
            Self::Silent => "smtp_timeout",
        }
    }
}

/// A mail server behind a door, and whoever sends by it.
struct Office {
    sink: SmtpSink,
    door: Door,
    api: Api,
    workers: Vec<Program>,
    dir: TestDir,
    services: Option<(Rabbit, Postgres, Program)>,
}

fn configured(launch: Launch, dir: &TestDir, door: &Door) -> Launch {
    launch
        .env("LONGSHORE_QUEUES", dir.join("queues.toml"))
        .env("LONGSHORE_LOG_FORMAT", "text")
        .env("LONGSHORE_LOG", "warn,longshore::worker::circuit=info")
        .env(
            "SMTP_URL",
            format!("smtp://127.0.0.1:{}?tls=none", door.port()),
        )
}

impl Office {
    /// `longshore dev`.
    async fn embedded(queues: &str) -> Self {
        let (sink, door, dir) = Self::outside(queues).await;
        let port = free_port();
        let dev = configured(longshore(["dev"]), &dir, &door)
            .within(dir.path())
            .env("LONGSHORE_LISTEN", format!("127.0.0.1:{port}"));
        let office = Self {
            api: Api::new(format!("http://127.0.0.1:{port}")),
            workers: vec![dev.start()],
            services: None,
            sink,
            door,
            dir,
        };
        ready(port).await;
        office
    }

    /// An intake and so many workers on RabbitMQ and PostgreSQL.
    async fn served(workers: usize) -> Self {
        let (sink, door, dir) = Self::outside(QUEUES).await;
        let (rabbit, postgres) = tokio::join!(Rabbit::start(), Postgres::start());
        let database = postgres.create_database("longshore").await;
        let launch = |arguments: &[&str]| {
            configured(longshore(arguments), &dir, &door)
                .env("DATABASE_URL", &database)
                .env("AMQP_URL", rabbit.url())
        };
        let mut migrate = launch(&["migrate"]).start();
        assert!(migrate.wait_exit(PATIENCE).await.success());
        let mut ports = vec![free_port()];
        let intake = launch(&["intake"]).env("LONGSHORE_LISTEN", format!("127.0.0.1:{}", ports[0]));
        let intake = intake.start();
        let worker = |port: u16| {
            let health = format!("127.0.0.1:{port}");
            let worker = launch(&["work", "email"]).env("LONGSHORE_HEALTH_LISTEN", health);
            worker.start()
        };
        ports.extend((0..workers).map(|_| free_port()));
        let workers = ports[1..].iter().map(|port| worker(*port)).collect();
        for port in &ports {
            ready(*port).await;
        }
        Self {
            api: Api::new(format!("http://127.0.0.1:{}", ports[0])),
            workers,
            services: Some((rabbit, postgres, intake)),
            sink,
            door,
            dir,
        }
    }

    async fn outside(queues: &str) -> (SmtpSink, Door, TestDir) {
        let sink = SmtpSink::start().await;
        let door = Door::to(format!("127.0.0.1:{}", sink.port())).await;
        let dir = TestDir::new("office");
        std::fs::write(dir.join("queues.toml"), queues).unwrap();
        (sink, door, dir)
    }

    async fn submit(&self, count: usize) {
        let mails: Vec<Value> = (0..count)
            .map(|n| json!({"kind": "email.send", "payload": mail(n)}))
            .collect();
        for batch in mails.chunks(1000) {
            self.api
                .post("/v1/jobs/batch", &json!(batch))
                .await
                .expect(202);
        }
    }

    async fn queue(&self) -> Value {
        let list = self.api.get("/v1/queues").await.expect(200);
        let queues = list["items"].as_array().unwrap();
        let email = queues.iter().find(|queue| queue["name"] == "email");
        email.unwrap().clone()
    }

    /// Waits until so many mails have arrived and nothing waits; every job's row.
    async fn sent(&self, count: usize) -> Vec<Value> {
        until("every mail is sent", PATIENCE * 3, async || {
            let depth = &self.queue().await["depth"];
            let left: u64 = depth
                .as_object()?
                .values()
                .map(|n| n.as_u64().unwrap())
                .sum();
            (left == 0).then_some(())
        })
        .await;
        let (mut jobs, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.api.get(&format!("/v1/jobs?limit=500{cursor}")).await;
            let page = page.expect(200);
            jobs.extend(page["items"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(jobs.len(), count);
        jobs
    }

    /// What `verify` says, of a sheet that adds up.
    async fn verified(&self) -> Value {
        let mut verify = longshore(["verify", "--json"]).within(self.dir.path());
        if let Some((rabbit, postgres, _)) = &self.services {
            verify = verify
                .env("DATABASE_URL", postgres.url("longshore"))
                .env("AMQP_URL", rabbit.url());
        } else {
            let file = self.dir.join(".longshore/longshore.db");
            verify = verify.env("DATABASE_URL", format!("sqlite://{}", file.display()));
        }
        let mut verify = verify.start();
        let status = verify.wait_exit(PATIENCE).await;
        assert!(status.success(), "{}", verify.output_so_far());
        serde_json::from_str(&verify.stdout()).unwrap()
    }

    /// Counts the mails at their server.
    async fn hand_in(&self, mut fault: Fault, jobs: &[Value]) {
        let verified = self.verified().await;
        assert_eq!(verified["jobs"]["accepted"], jobs.len(), "{verified}");
        assert_eq!(verified["jobs"]["succeeded"], jobs.len(), "{verified}");
        let mails = self.sink.mails();
        let at = |time: f64| (time * 1000.0) as u64;
        let arrived = mails
            .iter()
            .map(|mail| (mail.message_id.as_str(), 0, at(mail.time)));
        fault.started(arrived);
        let ids: BTreeSet<&str> = mails.iter().map(|mail| mail.message_id.as_str()).collect();
        let burned = jobs.iter().map(|job| job["attempt"].as_u64().unwrap() - 1);
        fault.hand_in(Figures {
            accepted: jobs.len(),
            lost: jobs.len() - ids.len(),
            twice: mails.len() - ids.len(),
            unknown: 0,
            burned: burned.sum::<u64>() as usize,
        });
    }

    /// A job in that state says that it waits for the mail server, and what that one said.
    async fn says_why(&self, state: &str, code: &str) {
        until(&format!("a {state} job says why"), PATIENCE, async || {
            let path = format!("/v1/jobs?state={state}&limit=1");
            let found = self.api.get(&path).await.expect(200);
            let id = found["items"].as_array()?.first()?["id"].as_str()?;
            let job = self.api.get(&format!("/v1/jobs/{id}")).await.expect(200);
            let waiting = &job["waiting_for"];
            let message = waiting["message"].as_str()?;
            (job["attempt"] == 0
                && waiting["reason"] == "dependency_down"
                && message.contains(&format!("{code}: ")))
            .then_some(())
        })
        .await;
    }

    async fn outage(&mut self, mut fault: Fault, away: Away, mails: usize, length: Duration) {
        self.submit(20).await;
        self.sent(20).await;
        assert_eq!(self.queue().await["breaker"], "closed");
        match away {
            Away::Shut => self.door.shut(),
            Away::Silent => self.door.fall_silent(),
        }
        let start = Instant::now();
        self.submit(mails).await;
        let open = until("the breaker is told open", PATIENCE, async || {
            let queue = self.queue().await;
            (queue["breaker"] == "open").then_some(queue)
        })
        .await;
        assert_eq!(open["breaker_error"]["code"], away.code(), "{open}");
        self.says_why("queued", away.code()).await;
        self.says_why("retrying", away.code()).await;
        // Waiting is no reason to be taken out of service.
        self.api.get("/readyz").await.expect(200);
        tokio::time::sleep(length.saturating_sub(start.elapsed())).await;
        let connects = self.door.turned_away();
        let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
        let looks = seconds / usize::try_from(COOLDOWN).unwrap() + 1;
        let bound = self.workers.len() * (looks + CONCURRENCY + FAILURES);
        eprintln!("{connects} connections in {seconds} s; at most {bound}");
        assert!(connects <= bound, "a storm: {connects} connections");
        // A look at what is silent takes as long as a run has time.
        assert!(
            connects >= looks / 8,
            "nobody looks: {connects} connections"
        );
        self.door.open();
        fault.over();
        let jobs = self.sent(20 + mails).await;
        for job in &jobs {
            assert_eq!(job["state"], "succeeded", "{job}");
            assert_eq!(job["attempt"], 1, "an attempt was counted: {job}");
        }
        let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
        for mail in self.sink.mails() {
            *arrived.entry(mail.message_id).or_default() += 1;
        }
        assert_eq!(arrived.len(), 20 + mails);
        assert!(arrived.values().all(|times| *times == 1), "sent twice");
        until("the breaker is told closed", PATIENCE, async || {
            let queue = self.queue().await;
            (queue["breaker"] == "closed" && queue["breaker_error"].is_null()).then_some(())
        })
        .await;
        for worker in &self.workers {
            let said = worker.output_so_far();
            let count = |what| said.matches(what).count();
            let told = (count("breaker opened"), count("breaker closed"));
            assert_eq!(told, (1, 1), "{said}");
        }
        self.hand_in(fault, &jobs).await;
    }
}

fn mail(n: usize) -> Value {
    json!({"to": ["ada@example.com"], "subject": format!("mail {n}"), "text": "Hello."})
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
async fn five_thousand_mails_wait_two_minutes_for_their_server_and_none_loses_an_attempt() {
    let fault = fault!("The mail server is down for two minutes");
    let mut office = Office::served(2).await;
    office
        .outage(fault, Away::Shut, 5_000, Duration::from_secs(120))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_mails_wait_for_their_server_and_none_loses_an_attempt() {
    let fault = fault!("The mail server is down for 20 s, embedded");
    let mut office = Office::embedded(QUEUES).await;
    office
        .outage(fault, Away::Shut, 500, Duration::from_secs(20))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_mails_wait_for_a_server_that_says_nothing_and_none_loses_an_attempt() {
    let fault = fault!("The mail server takes connections and says nothing for 30 s, embedded");
    // So that a look does not take as long as the whole outage.
    let mut office = Office::embedded(&QUEUES.replace("60s", "8s")).await;
    office
        .outage(fault, Away::Silent, 300, Duration::from_secs(30))
        .await;
}
