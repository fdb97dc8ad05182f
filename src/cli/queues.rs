use std::time::Duration;

use super::operator::operator;
use super::table::{table, text};
use super::{CliError, Context, open};
use crate::admin::{self, ControlError, Depths, QueueView};
use crate::config::{Need, Queues};
use crate::job::State;
use crate::store::Store;

/// Arguments of `longshore queues`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Args {
    /// Queues: what they hold, how fast they move, who works them
    List(ListArgs),
    /// Start no more jobs of these queues, whatever restarts; what runs is finished
    Pause(NamedArgs),
    /// Start their jobs again
    Resume(NamedArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// These; all if none is named
    #[arg(value_name = "QUEUE")]
    names: Vec<String>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct NamedArgs {
    #[arg(value_name = "QUEUE", required = true)]
    names: Vec<String>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// `longshore queues list|pause|resume`
pub(super) async fn run(context: Context, args: Args) -> Result<(), CliError> {
    let settings = context.settings.clone().validate(Need::Operator)?;
    let queues = context.queues()?;
    let store = open::ready_store(&settings).await?;
    let done = match args {
        Args::List(args) => {
            let broker = open::reachable_broker(&settings, &queues)?;
            let views =
                admin::queues(&*store, broker.as_deref(), &queues, &Depths::default()).await;
            if let Some(broker) = broker {
                broker.close().await;
            }
            match views {
                Ok(views) => list(&context, views, &args),
                Err(error) => Err(error.into()),
            }
        }
        Args::Pause(args) => pause(&context, &*store, &queues, &args).await,
        Args::Resume(args) => resume(&context, &*store, &queues, &args).await,
    };
    store.close().await;
    done
}

async fn pause(
    context: &Context,
    store: &dyn Store,
    queues: &Queues,
    args: &NamedArgs,
) -> Result<(), CliError> {
    let depths = Depths::default();
    let paused = admin::pause(store, queues, &depths, &args.names, &operator()).await?;
    tell(context, store, queues, args, &depths).await?;
    for queue in paused.iter().filter(|_| !args.json) {
        let line = format!("{queue} is paused; what runs is finished");
        context.out.line(line);
    }
    Ok(())
}

async fn resume(
    context: &Context,
    store: &dyn Store,
    queues: &Queues,
    args: &NamedArgs,
) -> Result<(), CliError> {
    let depths = Depths::default();
    let resumed = admin::resume(store, queues, &depths, &args.names, &operator()).await?;
    tell(context, store, queues, args, &depths).await?;
    for queue in resumed.iter().filter(|_| !args.json) {
        context.out.line(format!("{queue} runs"));
    }
    Ok(())
}

/// As the API tells of them; the broker is not asked.
async fn tell(
    context: &Context,
    store: &dyn Store,
    queues: &Queues,
    args: &NamedArgs,
    depths: &Depths,
) -> Result<(), CliError> {
    if args.json {
        let views = admin::queues(store, None, queues, depths).await?;
        let named = views.iter().filter(|view| args.names.contains(&view.name));
        named.for_each(|view| context.out.json(view));
    }
    Ok(())
}

fn list(context: &Context, mut views: Vec<QueueView>, args: &ListArgs) -> Result<(), CliError> {
    for name in &args.names {
        if !views.iter().any(|view| view.name == *name) {
            let known: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
            let known = known.join(", ");
            return Err(CliError::usage(format!(
                "no queue `{name}`; there are {known}"
            )));
        }
    }
    if !args.names.is_empty() {
        views.retain(|view| args.names.contains(&view.name));
    }
    let out = context.out;
    if args.json {
        views.iter().for_each(|view| out.json(view));
        return Ok(());
    }
    let mut rows = table(&[
        "queue",
        "queued",
        "running",
        "retrying",
        "scheduled",
        "dead",
        "oldest",
        "in/s",
        "out/s",
        "workers",
        "state",
    ]);
    for view in &views {
        let depth = |state| {
            view.depth
                .get(&state)
                .copied()
                .unwrap_or_default()
                .to_string()
        };
        let capacity: u32 = view.workers.iter().map(|worker| worker.capacity).sum();
        rows.add_row([
            view.name.clone(),
            depth(State::Queued),
            depth(State::Running),
            depth(State::Retrying),
            depth(State::Scheduled),
            depth(State::Dead),
            view.oldest_ready_age.map(age).unwrap_or_default(),
            view.rates.accepted.to_string(),
            view.rates.finished.to_string(),
            format!("{} ({capacity} slots)", view.workers.len()),
            state(view),
        ]);
    }
    out.line(text(&mut rows));
    Ok(())
}

fn state(view: &QueueView) -> String {
    match &view.paused {
        Some(pause) => {
            let since = pause.since.format("%Y-%m-%d %H:%MZ");
            format!("paused since {since} by {}", pause.by)
        }
        None if view.breaker != "closed" => {
            let why = view.breaker_error.as_ref();
            let why = why.map(|error| format!(" ({})", error.code));
            format!("breaker {}{}", view.breaker, why.unwrap_or_default())
        }
        None if view.workers.is_empty() => "no worker".to_owned(),
        None => "runs".to_owned(),
    }
}

fn age(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.round()).unwrap_or_default();
    humantime::format_duration(whole).to_string()
}

impl From<ControlError> for CliError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Store(error) => error.into(),
            unknown @ ControlError::Unknown { .. } => Self::usage(unknown.to_string()),
        }
    }
}
