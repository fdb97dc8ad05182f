use std::any::Any;

use serde_json::{Value, json};

use crate::dev::{Dev, mail};
use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::postgres::Postgres;
use crate::support::program::{Launch, free_port, longshore};
use crate::support::rabbit::Rabbit;
use crate::support::wait::{PATIENCE, until};

/// A running intake and worker, of either mode.
pub struct Installation {
    pub api: Api,
    pub url: String,
    _alive: Box<dyn Any + Send>,
}

impl Installation {
    /// `longshore dev`.
    pub async fn embedded() -> Self {
        let dev = Dev::start().await;
        Self {
            api: dev.api.clone(),
            url: format!("http://127.0.0.1:{}", dev.port),
            _alive: Box::new(dev),
        }
    }

    /// `longshore intake` and `longshore work` on services of their own; with an API key if
    /// one is given.
    pub async fn served(key: Option<&str>) -> Self {
        let (rabbit, postgres) = tokio::join!(Rabbit::start(), Postgres::start());
        let database = postgres.create_database("longshore").await;
        let mail = TestDir::new("mail");
        let launch = |arguments: &[&str]| -> Launch {
            longshore(arguments)
                .env("DATABASE_URL", &database)
                .env("AMQP_URL", rabbit.url())
                .env("SMTP_URL", format!("file://{}", mail.path().display()))
        };
        let mut migrate = launch(&["migrate"]).start();
        let migrated = migrate.wait_exit(PATIENCE).await;
        assert!(migrated.success(), "{}", migrate.output_so_far());
        let (port, health) = (free_port(), free_port());
        let mut intake = launch(&["intake"]).env("LONGSHORE_LISTEN", format!("127.0.0.1:{port}"));
        if let Some(key) = key {
            intake = intake.env("LONGSHORE_ADMIN_KEY", key);
        }
        // The other queues ask for settings of their own.
        let worker = launch(&["work", "email"])
            .env("LONGSHORE_HEALTH_LISTEN", format!("127.0.0.1:{health}"));
        let processes = (intake.start(), worker.start());
        for port in [port, health] {
            ready(port).await;
        }
        let url = format!("http://127.0.0.1:{port}");
        let api = Api::new(&url);
        Self {
            api: match key {
                Some(key) => api.with_key(key),
                None => api,
            },
            url,
            _alive: Box::new((processes, rabbit, postgres, mail)),
        }
    }

    /// How many jobs there are, by pages.
    pub async fn jobs(&self) -> Vec<Value> {
        let mut jobs = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.api.get(&format!("/v1/jobs?limit=500{cursor}")).await;
            let page = page.expect(200);
            jobs.extend(page["items"].as_array().unwrap().iter().cloned());
            let Some(next) = page["next_cursor"].as_str() else {
                return jobs;
            };
            cursor = format!("&cursor={next}");
        }
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

/// A job that waits.
pub fn later(subject: &str) -> Value {
    json!({"kind": "email.send", "payload": mail(subject), "delay": "1h"})
}
