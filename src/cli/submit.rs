use std::io::Read;
use std::time::Duration;

use serde_json::value::RawValue;

use super::{CliError, Context, open, show};
use crate::admin::{Refusal, Submission, Waiter, complete};
use crate::config::{Need, Queues};
use crate::job::{JobId, NewJob, Priority, State, UniqueKey};
use crate::store::{Inserted, NewProcess, Role, Store};

/// Arguments of `longshore submit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to do, as `email.send`
    kind: String,
    /// JSON, @FILE, or - for standard input
    payload: String,
    /// The same key again is the same job
    #[arg(long)]
    idempotency_key: Option<String>,
    /// Not before this moment (RFC 3339, with a time zone)
    #[arg(long, conflicts_with = "delay")]
    run_at: Option<chrono::DateTime<chrono::Utc>>,
    /// Not before this long from now, as 30s or 10m
    #[arg(long)]
    delay: Option<String>,
    /// Ahead of the queue's other jobs
    #[arg(long)]
    high: bool,
    /// Counted failures after which it is dead
    #[arg(long)]
    max_attempts: Option<u32>,
    /// A label to find it by; may be given again
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Wait for its end; exit code 1 unless it succeeded
    #[arg(long)]
    wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `longshore submit KIND PAYLOAD`: straight into the store; a running process publishes it.
pub(super) async fn run(context: Context, args: Args) -> Result<(), CliError> {
    let (settings, queues) = context.configured(Need::Operator)?;
    let job = read_job(&context, &args, &queues)?;
    let store = open::ready_store(&settings).await?;
    let id = insert(&*store, job).await?;
    if args.wait {
        Waiter::start(store.clone()).wait(id, Duration::MAX).await;
    }
    let job = store.job(id).await?;
    store.close().await;
    let Some(mut job) = job else {
        return Err(CliError::message(format!("job {id} has vanished")));
    };
    complete(&mut job, &queues);
    let state = job.state;
    if args.json {
        context.out.json(&job);
    } else if args.wait {
        show::job(context.out, &job);
    } else {
        context.out.line(format!("{id} {state}"));
    }
    if args.wait && state != State::Succeeded {
        return Err(CliError::silent());
    }
    Ok(())
}

fn read_job(context: &Context, args: &Args, queues: &Queues) -> Result<NewJob, CliError> {
    let text = payload_text(&args.payload)?;
    let payload = RawValue::from_string(text)
        .map_err(|error| CliError::usage(format!("PAYLOAD is not valid JSON: {error}")))?;
    let submission = Submission {
        kind: args.kind.clone(),
        payload,
        run_at: args.run_at,
        delay: args.delay.clone(),
        priority: Priority::from_high(args.high),
        max_attempts: args.max_attempts,
        tags: args.tags.clone(),
    };
    let asked = serde_json::to_vec(&submission).map_err(CliError::failed)?;
    let mut job = submission
        .into_job(&context.registry, queues)
        .map_err(|refusal| refused(&refusal))?;
    job.unique = args.idempotency_key.clone().map(|key| UniqueKey {
        scope: "operator".to_owned(),
        key,
        fingerprint: Submission::fingerprint(&asked),
    });
    Ok(job)
}

fn refused(refusal: &Refusal) -> CliError {
    match refusal {
        Refusal::Invalid(errors) => {
            let lines: Vec<String> = errors
                .iter()
                .map(|error| format!("{}: {}", error.pointer, error.message))
                .collect();
            CliError::wrong(&lines)
        }
        other => CliError::usage(other.to_string()),
    }
}

fn payload_text(given: &str) -> Result<String, CliError> {
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
    store.retire(me).await?;
    match inserted?.jobs.first() {
        Some(Inserted::Accepted { .. }) => Ok(job.id),
        Some(Inserted::Replayed { id }) => Ok(*id),
        Some(Inserted::KeyReused { id }) => Err(CliError::usage(format!(
            "--idempotency-key was used before with other arguments, for job {id}: use a new key"
        ))),
        None => Err(CliError::message("the store gave no answer")),
    }
}
