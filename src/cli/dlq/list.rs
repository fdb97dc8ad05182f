use crate::admin::complete;
use crate::cli::filter::FilterArgs;
use crate::cli::{CliError, Context, open, show};
use crate::config::{Queues, Settings};
use crate::job::State;
use crate::store::Page;

/// Causes that are listed at most.
const GROUPS: u32 = 1000;

/// Arguments of `longshore dlq list`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Of these queues; all if none is named
    #[arg(value_name = "QUEUE")]
    names: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// By cause: the same kind, code and shape of message
    #[arg(long)]
    group: bool,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    context: &Context,
    settings: &Settings,
    queues: &Queues,
    args: Args,
) -> Result<(), CliError> {
    let mut filter = args.filter.filter(&args.names)?;
    let store = open::ready_store(settings).await?;
    open::known_queues(&filter, queues, &*store).await?;
    if args.group {
        let groups = store.dead_groups(&filter, args.limit.min(GROUPS)).await?;
        store.close().await;
        show::groups(context.out, &groups, args.json);
        return Ok(());
    }
    filter.states = vec![State::Dead];
    let page = Page {
        limit: args.limit,
        before: None,
    };
    let mut jobs = store.list(&filter, page).await?;
    store.close().await;
    jobs.iter_mut().for_each(|job| complete(job, queues));
    show::jobs(context.out, &jobs, args.json);
    Ok(())
}
