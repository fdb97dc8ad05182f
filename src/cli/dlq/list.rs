use crate::cli::filter::FilterArgs;
use crate::cli::listing::{self, Much, next_page, tell_of_more};
use crate::cli::output::Output;
use crate::cli::{CliError, Context, open, show};
use crate::config::{Queues, Settings};
use crate::job::State;
use crate::store::{JobFilter, Store, StoreResult};

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
    #[command(flatten)]
    much: Much,
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
        let listed = groups(context.out, &*store, &filter, &args).await;
        store.close().await;
        return Ok(listed?);
    }
    filter.states = vec![State::Dead];
    let listed = listing::jobs(context.out, &*store, queues, &filter, &args.much, args.json).await;
    store.close().await;
    Ok(listed?)
}

async fn groups(
    out: Output,
    store: &dyn Store,
    filter: &JobFilter,
    args: &Args,
) -> StoreResult<()> {
    let mut left = args.much.most();
    let mut told = 0;
    loop {
        let size = next_page(left);
        let mut groups = store.dead_groups(filter, size + 1, told).await?;
        let more = groups.len() > size as usize;
        groups.truncate(size as usize);
        show::groups(out, &groups, args.json, told == 0);
        left -= groups.len() as u64;
        told += size;
        if !more {
            return Ok(());
        }
        if left == 0 {
            tell_of_more(out);
            return Ok(());
        }
    }
}
