//! The email worker against scripted and real SMTP servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

#[allow(dead_code, unused_imports, reason = "the program uses more of it")]
#[path = "../../workers/email/mod.rs"]
mod email;

mod aiosmtpd;
mod classes;
mod connections;
mod directory;
mod real;
mod scripted;
mod templates;

use std::time::Duration;

use chrono::{DateTime, Utc};
use email::{Limits, MailTarget, Mailer, SendEmail, Templates, mail_from};
use longshore::job::{ErrorClass, Failure, JobId, JobResult};
use rustls::RootCertStore;
use serde_json::{Value, json};
use tokio::time::Instant;

fn mailer(url: &str, limits: Limits) -> Mailer {
    trusting_mailer(url, limits, RootCertStore::empty())
}

fn trusting_mailer(url: &str, limits: Limits, roots: RootCertStore) -> Mailer {
    let target = MailTarget::parse(url).unwrap();
    Mailer::new(
        target,
        mail_from("Shop <shop@example.com>").unwrap(),
        limits,
        roots,
    )
    .unwrap()
}

fn payload(value: Value) -> SendEmail {
    let payload: SendEmail = serde_json::from_value(value).unwrap();
    payload.check().unwrap();
    payload
}

fn templates(files: &[(&str, &str)]) -> Templates {
    let folder = tempfile::tempdir().unwrap();
    for (name, source) in files {
        std::fs::write(folder.path().join(name), source).unwrap();
    }
    Templates::load(folder.path()).unwrap()
}

fn hello() -> SendEmail {
    payload(json!({"to": ["ada@example.com"], "subject": "Hello", "text": "Hi"}))
}

fn accepted_at() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn in_an_hour() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

async fn send(mailer: &Mailer, payload: &SendEmail) -> JobResult {
    let (id, deadline) = (JobId::new(), in_an_hour());
    mailer.send(payload, id, accepted_at(), deadline).await
}

async fn failure(mailer: &Mailer, payload: &SendEmail) -> Failure {
    send(mailer, payload).await.expect_err("must not be sent")
}

fn ends_as(failure: &Failure) -> (ErrorClass, &str) {
    (failure.error().class, failure.error().code.as_str())
}
