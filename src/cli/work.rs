use std::sync::Arc;

use tokio::net::TcpListener;

use super::{CliError, Context, alone, logging, open, signals};
use crate::config::{DEFAULT_HEALTH_LISTEN, Need, Queues, Settings};
use crate::intake::bind;
use crate::job::QueueName;
use crate::node::{Node, Plan, Work};
use crate::store::Role;

/// Arguments of `longshore work`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Queues to work; all of queues.toml if none is named
    #[arg(value_name = "QUEUE")]
    names: Vec<String>,
}

/// `longshore work [QUEUE…]`
pub(super) async fn run(context: Context, args: Args) -> Result<(), CliError> {
    let (settings, queues, names) = configured(&context, &args.names)?;
    logging::start(&settings);
    let handlers = context
        .registry
        .handlers(&queues, &names, &settings.worker)?;
    let registry = Arc::new(context.registry);
    let handlers = handlers.with_spares(registry.clone(), settings.worker.clone());
    let shutdown = signals::listen()?;
    let plan = Plan {
        role: Role::Worker,
        store: open::store(&settings).await?,
        broker: open::broker(&settings, &queues)?,
        listener: health_listener(&settings).await?,
        queues,
        registry,
        intake: false,
        admin_key: None,
        work: Some(Work {
            queues: names.clone(),
            handlers: Arc::new(handlers),
            isolation: Some(alone::isolation(&context.settings, false)?),
            shutdown_deadline: settings.shutdown_deadline,
        }),
        migrate: false,
    };
    let node = Node::start(plan, shutdown).await?;
    let names: Vec<&str> = names.iter().map(QueueName::as_str).collect();
    tracing::info!(health.address = %node.address, queues = ?names, "worker is up");
    node.finish().await?;
    tracing::info!("worker has stopped");
    Ok(())
}

/// With all that is wrong with settings, queue file and arguments.
fn configured(
    context: &Context,
    wanted: &[String],
) -> Result<(Settings, Arc<Queues>, Vec<QueueName>), CliError> {
    let named = context
        .queues()
        .ok()
        .map(|queues| named(&queues, wanted))
        .transpose();
    match (context.configured(Need::Worker), named) {
        (Ok((settings, queues)), Ok(names)) => {
            Ok((settings, Arc::new(queues), names.unwrap_or_default()))
        }
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => Err(error),
        (Err(error), Err(unknown)) => Err(error.and(unknown)),
    }
}

fn named(queues: &Queues, wanted: &[String]) -> Result<Vec<QueueName>, CliError> {
    if wanted.is_empty() {
        return Ok(queues.names().cloned().collect());
    }
    let find = |name: &String| queues.names().find(|known| known.as_str() == name).cloned();
    let unknown: Vec<&str> = wanted
        .iter()
        .filter(|name| find(name).is_none())
        .map(String::as_str)
        .collect();
    if unknown.is_empty() {
        return Ok(wanted.iter().filter_map(find).collect());
    }
    let known: Vec<&str> = queues.names().map(QueueName::as_str).collect();
    Err(CliError::usage(format!(
        "no queue {}: queues.toml has {}",
        unknown.join(", "),
        known.join(", ")
    )))
}

/// The address that was set; or the default one, or any if that is taken, so that several
/// workers can run side by side on one machine.
async fn health_listener(settings: &Settings) -> Result<TcpListener, CliError> {
    if let Some(address) = settings.health_listen {
        return Ok(bind(address).await?);
    }
    match bind(DEFAULT_HEALTH_LISTEN).await {
        Ok(listener) => Ok(listener),
        Err(_) => Ok(bind((DEFAULT_HEALTH_LISTEN.ip(), 0).into()).await?),
    }
}
