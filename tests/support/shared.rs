//! The services that `tests/run` started (or was given), shared by every test. Nobody stops
//! these; a test that must have its own starts a [`Rabbit`](super::rabbit::Rabbit) or
//! [`Postgres`](super::postgres::Postgres).

use sqlx::{Connection, Executor, PgConnection};
use url::Url;

/// The shared PostgreSQL server, as a superuser.
pub fn database_url() -> String {
    given("TEST_DATABASE_URL")
}

/// The shared RabbitMQ. Tests keep apart by names of their own for queues.
pub fn amqp_url() -> String {
    given("TEST_AMQP_URL")
}

fn given(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run the tests with `tests/run`, which starts the services")
    })
}

/// An empty database on the shared server, removed when this is dropped by a test that passes.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
}

impl Database {
    pub async fn create() -> Self {
        let name = format!("test_{}", uuid::Uuid::now_v7().simple());
        run(&format!("CREATE DATABASE {name}")).await;
        let mut url = Url::parse(&database_url()).expect("TEST_DATABASE_URL is a URL");
        url.set_path(&name);
        Self {
            name,
            url: url.into(),
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept database: {}", self.name);
            return;
        }
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A runtime cannot be entered from within another one's thread.
        let dropping = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(run(&sql));
        });
        dropping.join().expect("the test's database is removed");
    }
}

async fn run(sql: &str) {
    let mut connection = PgConnection::connect(&database_url())
        .await
        .expect("TEST_DATABASE_URL answers");
    connection
        .execute(sqlx::AssertSqlSafe(sql.to_owned()))
        .await
        .expect(sql);
    connection.close().await.expect("close");
}
