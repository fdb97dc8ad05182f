use super::filter::FilterArgs;
use super::{CliError, Context, open, show};
use crate::admin::{complete, explain};
use crate::config::Need;
use crate::job::{JobId, State};
use crate::store::Page;

/// Arguments of `longshore jobs`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Args {
    /// Jobs, newest first
    List(ListArgs),
    /// One job with its attempts
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// In this state; may be given again
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<State>,
    /// In this queue; may be given again
    #[arg(long = "queue", value_name = "QUEUE")]
    in_queues: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The job's id
    id: JobId,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `longshore jobs list|show`
pub(super) async fn run(context: Context, args: Args) -> Result<(), CliError> {
    let (settings, queues) = context.configured(Need::Operator)?;
    match args {
        Args::List(args) => {
            let mut filter = args.filter.filter(&args.in_queues)?;
            filter.states = args.states;
            let store = open::ready_store(&settings).await?;
            let page = Page {
                limit: args.limit,
                before: None,
            };
            let jobs = store.list(&filter, page).await?;
            store.close().await;
            show::jobs(context.out, &jobs, args.json);
        }
        Args::Show(args) => {
            let store = open::ready_store(&settings).await?;
            let mut job = store.job(args.id).await?;
            if let Some(job) = &mut job {
                // What the row says is worth more than no answer.
                if let Err(error) = explain(&*store, job).await {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "cannot tell why the job waits"
                    );
                }
            }
            store.close().await;
            let mut job = job.ok_or_else(|| {
                CliError::message(format!("no job {}: never accepted, or pruned", args.id))
            })?;
            complete(&mut job, &queues);
            if args.json {
                context.out.json(&job);
            } else {
                show::job(context.out, &job);
            }
        }
    }
    Ok(())
}
