use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::filter::FilterArgs;
use super::{CliError, Context, open, show};
use crate::config::Need;
use crate::job::State;
use crate::relay::OperationExecutor;
use crate::store::{Action, JobFilter, NewOperation, OperationId, Page, Store};

/// Arguments of `longshore dlq`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Args {
    /// Dead letters, newest first
    List(ListArgs),
    /// Send dead letters back to their queues; returns when done
    Requeue(RequeueArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Of these queues; all if none is named
    #[arg(value_name = "QUEUE")]
    names: Vec<String>,
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
pub(super) struct RequeueArgs {
    /// All dead letters of these queues, or those that the flags select
    #[arg(value_name = "QUEUE")]
    names: Vec<String>,
    /// All dead letters of all queues
    #[arg(long, conflicts_with = "names")]
    all: bool,
    #[command(flatten)]
    filter: FilterArgs,
    /// How many at most
    #[arg(long)]
    limit: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `longshore dlq list|requeue`
pub(super) async fn run(context: Context, args: Args) -> Result<(), CliError> {
    let settings = context.settings.clone().validate(Need::Operator)?;
    match args {
        Args::List(args) => {
            let mut filter = args.filter.filter(&args.names)?;
            filter.states = vec![State::Dead];
            let store = open::ready_store(&settings).await?;
            let page = Page {
                limit: args.limit,
                before: None,
            };
            let jobs = store.list(&filter, page).await?;
            store.close().await;
            show::jobs(context.out, &jobs, args.json);
            Ok(())
        }
        Args::Requeue(args) => {
            let filter = args.filter.filter(&args.names)?;
            if args.names.is_empty() && args.filter.is_empty() && !args.all {
                return Err(CliError::usage(
                    "say which: name a QUEUE, give --id, --kind or --code, or --all",
                ));
            }
            let whole = args.filter.is_empty() && args.limit.is_none();
            if whole && !context.out.confirm("Send back all of these dead letters?") {
                return Err(CliError::message("nothing was sent back"));
            }
            let store = open::ready_store(&settings).await?;
            let sent = requeue(store.clone(), &filter, args.limit).await?;
            store.close().await;
            if args.json {
                context.out.json(&json!({"requeued": sent}));
            } else {
                context.out.line(format!("{sent} sent back"));
            }
            Ok(())
        }
    }
}

/// As an operation, which goes on in the running processes if this one is stopped.
async fn requeue(
    store: Arc<dyn Store>,
    filter: &JobFilter,
    limit: Option<u64>,
) -> Result<u64, CliError> {
    let operation = NewOperation {
        id: OperationId::new(),
        action: Action::Requeue,
        filter: filter.clone(),
        limit,
        rate: None,
        created_by: "cli".to_owned(),
    };
    let mut operation = store.begin(&operation).await?;
    let executor = OperationExecutor::new(store.clone(), None);
    while !operation.state.is_final() {
        match executor.step(Some(operation.id)).await? {
            Some(stepped) => operation = stepped,
            None => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let stands = store.operation(operation.id).await?;
                operation = stands.ok_or_else(|| CliError::message("the operation is gone"))?;
            }
        }
    }
    Ok(operation.done)
}
