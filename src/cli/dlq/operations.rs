use super::bulk;
use super::progress::Progress;
use crate::cli::operator::operator;
use crate::cli::{CliError, Context, open, show};
use crate::config::{Queues, Settings};
use crate::relay::OperationExecutor;
use crate::store::{Operation, OperationCommand, OperationId, OperationState};

/// Arguments of `longshore dlq operations`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ListArgs {
    /// How many at most
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// One operation.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct OneArgs {
    /// The operation's id
    #[arg(value_name = "OPERATION")]
    id: OperationId,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(
    context: &Context,
    settings: &Settings,
    args: ListArgs,
) -> Result<(), CliError> {
    let store = open::ready_store(settings).await?;
    let operations = store.operations(args.limit, None).await?;
    store.close().await;
    show::operations(context.out, &operations, args.json);
    Ok(())
}

fn unknown(id: OperationId) -> CliError {
    CliError::message(format!(
        "no operation {id}: `longshore dlq operations` lists them"
    ))
}

/// Lends a hand while it watches, so that it never watches something that nobody does.
pub(super) async fn watch(
    context: &Context,
    settings: &Settings,
    queues: &Queues,
    args: OneArgs,
) -> Result<(), CliError> {
    let store = open::ready_store(settings).await?;
    let operation = store.operation(args.id).await?;
    let operation = operation.ok_or_else(|| unknown(args.id))?;
    let broker = open::reachable_broker(settings, queues)?;
    let executor = OperationExecutor::new(store.clone(), broker.clone());
    let ended = bulk::finish(&executor, &store, operation, Progress::start(context.out)).await;
    if let Some(broker) = broker {
        broker.close().await;
    }
    store.close().await;
    bulk::report(context, &ended?, args.json)
}

pub(super) async fn command(
    context: &Context,
    settings: &Settings,
    args: OneArgs,
    command: OperationCommand,
) -> Result<(), CliError> {
    let store = open::ready_store(settings).await?;
    let stands = store.command(args.id, command, &operator()).await?;
    store.close().await;
    let operation = stands.ok_or_else(|| unknown(args.id))?;
    let wanted = match command {
        OperationCommand::Pause => OperationState::Paused,
        OperationCommand::Resume => OperationState::Running,
        OperationCommand::Cancel => OperationState::Cancelled,
    };
    let Operation { id, state, .. } = operation;
    if args.json {
        context.out.json(&operation);
    } else {
        context.out.line(format!("{id} {state}"));
    }
    if state == wanted {
        Ok(())
    } else {
        Err(CliError::message(format!(
            "operation {id} is {state} already"
        )))
    }
}
