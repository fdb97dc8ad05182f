use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::progress::Progress;
use crate::admin::rate;
use crate::cli::filter::FilterArgs;
use crate::cli::operator::operator;
use crate::cli::{CliError, Context, open};
use crate::config::{Queues, Settings};
use crate::relay::OperationExecutor;
use crate::store::{
    Action, NewOperation, Operation, OperationId, OperationState, Store, StoreResult,
};

/// How often an operation is looked at that another process executes.
const LOOK: Duration = Duration::from_millis(200);

/// Arguments of `longshore dlq requeue` and `purge`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// All dead letters of these queues, or those of them that the flags select
    #[arg(value_name = "QUEUE")]
    names: Vec<String>,
    /// All dead letters of all queues
    #[arg(long, conflicts_with = "names")]
    all: bool,
    #[command(flatten)]
    filter: FilterArgs,
    /// Only count them
    #[arg(long)]
    dry_run: bool,
    /// How many at most, the oldest
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// How many a second at most, as 50 or 50/s
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Leave it to the running processes and return at once
    #[arg(long)]
    detach: bool,
    /// Ask nothing
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    context: &Context,
    settings: &Settings,
    queues: &Queues,
    action: Action,
    args: Args,
) -> Result<(), CliError> {
    let filter = args.filter.filter(&args.names)?;
    if filter.is_empty() && !args.all {
        return Err(CliError::usage(
            "say which: name a QUEUE, give a filter (--id, --kind, --code, …), or --all",
        ));
    }
    let store = open::ready_store(settings).await?;
    open::known_queues(&filter, queues, &*store).await?;
    if args.dry_run {
        let found = store.count_dead(&filter).await?;
        let matched = args.limit.map_or(found, |limit| found.min(limit));
        store.close().await;
        if args.json {
            let counted = json!({"action": action, "dry_run": true, "matched": matched});
            context.out.json(&counted);
        } else {
            context.out.line(format!("{matched} match"));
        }
        return Ok(());
    }
    if !args.yes && context.out.is_interactive() {
        let found = store.count_dead(&filter).await?;
        let matched = args.limit.map_or(found, |limit| found.min(limit));
        let question = match action {
            Action::Purge => format!("Remove {matched} dead letters for good?"),
            _ => format!("Send back {matched} dead letters?"),
        };
        if !context.out.confirm(&question) {
            return Err(CliError::message("nothing was done"));
        }
    }
    let operation = NewOperation {
        id: OperationId::new(),
        action,
        filter,
        limit: args.limit,
        rate: args.rate,
        created_by: operator(),
    };
    let begun = begin(&*store, &operation).await?;
    let named = operation.filter.ids.len() as u64;
    if args.limit.is_none() && begun.matched < named {
        let left = named - begun.matched;
        context.out.note(&format!(
            "note: of {named} ids {left} name no dead letter that matches; they are left alone"
        ));
    }
    if args.detach {
        store.close().await;
        if args.json {
            context.out.json(&begun);
        } else {
            let (id, matched) = (begun.id, begun.matched);
            let line =
                format!("{id}: {matched} to do; `longshore dlq watch {id}` shows how it goes");
            context.out.line(line);
        }
        return Ok(());
    }
    let broker = open::reachable_broker(settings, queues)?;
    let executor = OperationExecutor::new(store.clone(), broker.clone());
    let ended = finish(&executor, &store, begun, Progress::start(context.out)).await;
    if let Some(broker) = broker {
        broker.close().await;
    }
    store.close().await;
    report(context, &ended?, args.json)
}

/// Repeated while the answer is lost: the same id is the same operation.
async fn begin(store: &dyn Store, operation: &NewOperation) -> StoreResult<Operation> {
    let mut tries = 0;
    loop {
        match store.begin(operation).await {
            Err(error) if error.is_transient() && tries < 3 => tries += 1,
            answer => return answer,
        }
    }
}

/// Executes an operation until it ends, together with whoever else does. Killed at any point it
/// leaves the rest to the running processes.
pub(super) async fn finish(
    executor: &OperationExecutor,
    store: &Arc<dyn Store>,
    mut operation: Operation,
    progress: Progress,
) -> Result<Operation, CliError> {
    let id = operation.id;
    while operation.state == OperationState::Running {
        progress.show(&operation);
        let stands = match executor.step(Some(id)).await {
            Ok(Some(stepped)) => Ok(Some(stepped)),
            Ok(None) => {
                tokio::time::sleep(LOOK).await;
                store.operation(id).await
            }
            Err(error) => Err(error),
        };
        match stands {
            Ok(Some(stands)) => operation = stands,
            Ok(None) => return Err(CliError::message(format!("operation {id} is gone"))),
            Err(error) if error.is_transient() => {
                progress.note(&format!(
                    "the database does not answer ({error}); trying again"
                ));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    progress.end(&operation);
    Ok(operation)
}

/// What was done; an error unless all of it was.
pub(super) fn report(
    context: &Context,
    operation: &Operation,
    as_json: bool,
) -> Result<(), CliError> {
    let done = operation.done;
    let (name, said) = match operation.action {
        Action::Purge => ("purged", "removed"),
        Action::Requeue => ("requeued", "sent back"),
        Action::Cancel => ("cancelled", "cancelled"),
    };
    if as_json {
        context
            .out
            .json(&json!({name: done, "operation": operation}));
    } else {
        let mut line = format!("{done} {said}");
        for (count, what) in [
            (operation.skipped, "dealt with by others meanwhile"),
            (operation.failed, "failed"),
        ] {
            if count > 0 {
                line.push_str(&format!(", {count} {what}"));
            }
        }
        context.out.line(line);
    }
    let (id, by) = (
        operation.id,
        operation.changed_by.as_deref().unwrap_or("somebody"),
    );
    match operation.state {
        OperationState::Paused => Err(CliError::message(format!(
            "{by} paused it; `longshore dlq resume {id}` lets it go on"
        ))),
        OperationState::Cancelled => Err(CliError::message(format!("{by} cancelled it"))),
        _ if operation.failed > 0 => Err(CliError::message("not all of it could be done")),
        _ => Ok(()),
    }
}
