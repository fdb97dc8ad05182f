use std::time::Duration;

use super::CliError;
use super::submit::{Args, accepted_but, wrong_field};
use crate::client::{Client, ClientError};
use crate::config::Secret;
use crate::job::JobView;

/// An intake elsewhere.
#[derive(Debug, clap::Args)]
pub(super) struct Intake {
    /// The intake to send it to, as https://jobs.example.org; without one it goes straight into
    /// the store
    #[arg(
        long,
        env = "LONGSHORE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    url: Option<String>,
    /// The API key for that intake; best set in the environment, where nobody else sees it
    #[arg(
        long,
        env = "LONGSHORE_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    key: Option<Secret>,
    /// Send the key unencrypted to another machine too
    #[arg(long)]
    plain_http: bool,
}

impl Intake {
    /// A client, if an intake is named.
    pub(super) fn client(&self) -> Result<Option<Client>, CliError> {
        let Some(url) = self.url.as_deref().filter(|url| !url.is_empty()) else {
            return Ok(None);
        };
        let mut client = Client::new(url).map_err(|error| failed(&error))?;
        if let Some(key) = self.key.as_ref().filter(|key| !key.expose().is_empty()) {
            client = client.key(key.expose());
        }
        if self.plain_http {
            client = client.allow_plain_http();
        }
        Ok(Some(client))
    }
}

/// Submits to an intake elsewhere, and waits there.
pub(super) async fn submit(client: &Client, args: &Args) -> Result<JobView, CliError> {
    let mut submission = client.submit_raw(&args.kind, args.payload()?);
    if let Some(key) = &args.idempotency_key {
        submission = submission.idempotency_key(key);
    }
    if let Some(at) = args.run_at {
        submission = submission.run_at(at);
    }
    if let Some(delay) = &args.delay {
        submission = submission.delay_text(delay);
    }
    if args.high {
        submission = submission.high();
    }
    if let Some(limit) = args.max_attempts {
        submission = submission.max_attempts(limit);
    }
    for tag in &args.tags {
        submission = submission.tag(tag);
    }
    let submitted = submission.await.map_err(|error| failed(&error))?;
    if !args.wait {
        return Ok(submitted.job);
    }
    let id = submitted.job.id;
    let ended = client.wait(id, Duration::MAX).await;
    ended.map_err(|error| accepted_but(id, "waiting failed", &failed(&error)))
}

fn failed(error: &ClientError) -> CliError {
    match error {
        ClientError::Url(why) => CliError::usage(format!("--url (LONGSHORE_URL): {why}")),
        ClientError::PlainHttp(url) => CliError::usage(format!(
            "--key (LONGSHORE_KEY) would be sent unencrypted to {url}: use https://, or \
             --plain-http in a network in which nobody listens"
        )),
        ClientError::Problem(problem) => match (problem.status, &problem.errors[..]) {
            (401 | 403, _) => CliError::usage(format!("--key (LONGSHORE_KEY): {}", problem.detail)),
            (_, []) if problem.code.contains("idempotency_key") => {
                CliError::usage(format!("--idempotency-key: {}", problem.detail))
            }
            (400..=499, []) => CliError::usage(problem.to_string()),
            (400..=499, errors) => {
                let lines: Vec<String> = errors
                    .iter()
                    .map(|wrong| wrong_field(&wrong.pointer, &wrong.message))
                    .collect();
                CliError::wrong(&lines)
            }
            _ => CliError::message(problem.to_string()),
        },
        error => CliError::message(error.to_string()),
    }
}
