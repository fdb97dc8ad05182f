use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, Context, logging, open};
use crate::app::complete_queues;
use crate::config::{Need, Queues, SettingsArgs};
use crate::worker::{self, Hand, Isolation};

/// Arguments of `longshore run-alone`, which workers start and nobody types.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Settings are those of `longshore dev`
    #[arg(long)]
    dev: bool,
}

/// How a worker with these settings starts it.
pub(super) fn isolation(settings: &SettingsArgs, dev: bool) -> Result<Isolation, CliError> {
    let arguments = ["run-alone"].into_iter().chain(dev.then_some("--dev"));
    Isolation::by_this_program(arguments.map(Into::into), settings).map_err(CliError::failed)
}

/// `longshore run-alone`: runs one job that has taken its process down before.
pub(super) async fn run(mut context: Context, args: Args) -> Result<(), CliError> {
    let hand = Hand::take().map_err(|error| {
        let why = format!("run-alone is started by workers, with a job to run: {error}");
        CliError::usage(why)
    })?;
    // Both come to the whole group or container; when this process ends is the worker's to say.
    let _ignored = [SignalKind::terminate(), SignalKind::interrupt()]
        .map(|kind| signal(kind).map_err(CliError::failed));
    let need = if args.dev { Need::Dev } else { Need::Worker };
    if let Some(demo) = context.demo.take().filter(|_| args.dev) {
        let added = demo.register(&mut context.registry);
        added.map_err(|error| CliError::usage(error.to_string()))?;
    }
    let settings = context.settings.clone().validate(need)?;
    let mut queues = Queues::load(context.settings.queue_file().as_deref())?;
    complete_queues(&mut queues, &context.registry);
    logging::start(&settings);
    let queue = queues.of_kind(hand.kind()).cloned();
    let names: Vec<_> = queue.into_iter().collect();
    let handlers = context
        .registry
        .handlers(&queues, &names, &settings.worker)?;
    let store = open::store(&settings).await?;
    worker::serve(hand, &handlers, store, Arc::new(queues))
        .await
        .map_err(CliError::failed)
}
