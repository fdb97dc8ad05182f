use std::io::Read;
use std::time::Duration;

use serde_json::value::RawValue;

use super::{CliError, Context, open, show};
use crate::admin::{Refusal, Submission, Waiter, complete, moment};
use crate::config::{Need, Queues};
use crate::job::{JobId, JobView, NewJob, Priority, State};
use crate::store::{Inserted, NewProcess, Role, Store};

/// Arguments of `longshore submit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to do, as `email.send`
    pub(super) kind: String,
    /// JSON, @FILE, or - for standard input
    payload: String,
    /// The same key again is the same job
    #[arg(long)]
    pub(super) idempotency_key: Option<String>,
    /// Not before this moment (RFC 3339, with a time zone)
    #[arg(long, conflicts_with = "delay", value_parser = moment)]
    pub(super) run_at: Option<chrono::DateTime<chrono::Utc>>,
    /// Not before this long from now, as 30s or 10m
    #[arg(long)]
    pub(super) delay: Option<String>,
    /// Ahead of the queue's other jobs
    #[arg(long)]
    pub(super) high: bool,
    /// Counted failures after which it is dead
    #[arg(long)]
    pub(super) max_attempts: Option<u32>,
    /// A label to find it by; may be given again
    #[arg(long = "tag", value_name = "TAG")]
    pub(super) tags: Vec<String>,
    /// Wait for its end; exit code 1 unless it succeeded
    #[arg(long)]
    pub(super) wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    intake: super::remote::Intake,
}

/// `longshore submit KIND PAYLOAD`: to the intake at `--url`; without one straight into the
/// store, and a running process publishes it.
pub(super) async fn run(mut context: Context, args: Args) -> Result<(), CliError> {
    let job = match args.intake.client()? {
        Some(client) => super::remote::submit(&client, &args).await?,
        None => here(&mut context, &args).await?,
    };
    let state = job.state;
    if args.json {
        context.out.json(&job);
    } else if args.wait {
        show::job(context.out, &job);
    } else {
        context.out.line(format!("{} {state}", job.id));
    }
    if args.wait && state != State::Succeeded {
        return Err(CliError::silent());
    }
    Ok(())
}

async fn here(context: &mut Context, args: &Args) -> Result<JobView, CliError> {
    let (settings, queues) = context.configured(Need::Operator)?;
    context.registry.open_doors(&settings.worker)?;
    let job = read_job(context, args, &queues)?;
    let store = open::ready_store(&settings).await?;
    let id = insert(&*store, job).await?;
    if args.wait {
        Waiter::start(store.clone()).wait(id, Duration::MAX).await;
    }
    let job = store.job(id).await;
    store.close().await;
    let job = job.map_err(|error| accepted_but(id, "reading it failed", &error.into()))?;
    let Some(mut job) = job else {
        return Err(CliError::message(format!("job {id} has vanished")));
    };
    complete(&mut job, &queues);
    Ok(job)
}

/// What went wrong after a job was accepted, with its id: it runs all the same.
pub(super) fn accepted_but(id: JobId, what: &str, error: &CliError) -> CliError {
    CliError::message(format!("accepted as {id}; {what}: {}", error.text()))
}

impl Args {
    pub(super) fn payload(&self) -> Result<Box<RawValue>, CliError> {
        RawValue::from_string(payload_text(&self.payload)?)
            .map_err(|error| CliError::usage(format!("PAYLOAD is not valid JSON: {error}")))
    }
}

fn read_job(context: &Context, args: &Args, queues: &Queues) -> Result<NewJob, CliError> {
    let payload = args.payload()?;
    let submission = Submission {
        kind: args.kind.clone(),
        payload,
        run_at: args.run_at,
        delay: args.delay.clone(),
        priority: Priority::from_high(args.high),
        max_attempts: args.max_attempts,
        tags: args.tags.clone(),
    };
    let key = args.idempotency_key.clone();
    submission
        .into_job("operator", key, &context.registry, queues)
        .map_err(|refusal| refused(&refusal))
}

pub(super) fn refused(refusal: &Refusal) -> CliError {
    match refusal {
        Refusal::Invalid(errors) => {
            let lines: Vec<String> = errors
                .iter()
                .map(|error| wrong_field(&error.pointer, &error.message))
                .collect();
            CliError::wrong(&lines)
        }
        other => CliError::usage(other.to_string()),
    }
}

/// A wrong field by the name of the argument that it came from; in the payload by its pointer.
pub(super) fn wrong_field(pointer: &str, message: &str) -> String {
    let argument = match pointer.split('/').nth(1) {
        Some("kind") => "KIND",
        Some("run_at") => "--run-at",
        Some("delay") => "--delay",
        Some("priority") => "--high",
        Some("max_attempts") => "--max-attempts",
        Some("tags") => "--tag",
        Some("idempotency_key") => "--idempotency-key",
        Some("payload") => {
            let inside = pointer.trim_start_matches("/payload");
            let space = if inside.is_empty() { "" } else { " " };
            return format!("PAYLOAD{space}{inside}: {message}");
        }
        _ if pointer.is_empty() => return message.to_owned(),
        _ => pointer,
    };
    format!("{argument}: {message}")
}

pub(super) fn payload_text(given: &str) -> Result<String, CliError> {
    let mut text = String::new();
    match given.strip_prefix('@') {
        Some(path) => {
            text = std::fs::read_to_string(path)
                .map_err(|error| CliError::usage(format!("PAYLOAD {given}: {error}")))?;
        }
        None if given == "-" => {
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| {
                    CliError::usage(format!("PAYLOAD from standard input: {error}"))
                })?;
        }
        None => given.clone_into(&mut text),
    }
    Ok(text.trim().to_owned())
}

async fn insert(store: &dyn Store, job: NewJob) -> Result<JobId, CliError> {
    let me = store
        .register(&NewProcess::this(Role::Operator, Vec::new()))
        .await?;
    // No lease: this process does not publish, so any relay may take it at once.
    let inserted = store
        .insert(me, std::slice::from_ref(&job), Duration::ZERO)
        .await;
    // What is not retired is found dead later, which does not matter to the job.
    let _ = store.retire(me).await;
    match inserted?.jobs.first() {
        Some(Inserted::Accepted { .. }) => Ok(job.id),
        Some(Inserted::Replayed { id }) => Ok(*id),
        Some(Inserted::KeyReused { id }) => Err(CliError::usage(format!(
            "--idempotency-key was used before with other arguments, for job {id}: use a new key"
        ))),
        None => Err(CliError::message("the store gave no answer")),
    }
}
