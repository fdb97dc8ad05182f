mod bulk;
mod export;
mod import;
mod list;
mod operations;
mod progress;

use super::{CliError, Context, jobs};
use crate::config::Need;

/// Arguments of `longshore dlq`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Args {
    /// Dead letters, newest first; or their causes, the most frequent first
    List(list::Args),
    /// One dead letter with its attempts
    Show(jobs::ShowArgs),
    /// Send dead letters back to their queues, oldest first; returns when done
    Requeue(bulk::Args),
    /// Remove dead letters for good, oldest first; returns when done
    Purge(bulk::Args),
    /// Write dead letters to a file, as JSON lines
    Export(export::Args),
    /// Bring exported dead letters back, with their ids
    Import(import::Args),
    /// What operators did and do, newest first
    Operations(operations::ListArgs),
    /// Watch an operation until it is done
    Watch(operations::OneArgs),
    /// Stop an operation until it is resumed
    Pause(operations::OneArgs),
    /// Let an operation go on
    Resume(operations::OneArgs),
    /// Stop an operation for good; what was done stays done
    Cancel(operations::OneArgs),
}

/// `longshore dlq …`
pub(super) async fn run(context: Context, args: Args) -> Result<(), CliError> {
    use crate::store::{Action, OperationCommand};
    let (settings, queues) = context.configured(Need::Operator)?;
    match args {
        Args::List(args) => list::run(&context, &settings, &queues, args).await,
        Args::Show(args) => jobs::show(&context, &settings, &queues, &args).await,
        Args::Requeue(args) => bulk::run(&context, &settings, &queues, Action::Requeue, args).await,
        Args::Purge(args) => bulk::run(&context, &settings, &queues, Action::Purge, args).await,
        Args::Export(args) => export::run(&context, &settings, &queues, args).await,
        Args::Import(args) => import::run(&context, &settings, &queues, args).await,
        Args::Operations(args) => operations::list(&context, &settings, args).await,
        Args::Watch(args) => operations::watch(&context, &settings, &queues, args).await,
        Args::Pause(args) => {
            operations::command(&context, &settings, args, OperationCommand::Pause).await
        }
        Args::Resume(args) => {
            operations::command(&context, &settings, args, OperationCommand::Resume).await
        }
        Args::Cancel(args) => {
            operations::command(&context, &settings, args, OperationCommand::Cancel).await
        }
    }
}
