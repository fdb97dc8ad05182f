use std::sync::Arc;

use super::{CliError, Context, logging, open, signals};
use crate::config::Need;
use crate::intake::bind;
use crate::node::{Node, Plan};
use crate::store::Role;

/// `longshore intake`
pub(super) async fn run(context: Context) -> Result<(), CliError> {
    let settings = context.settings.clone().validate(Need::Intake)?;
    let queues = Arc::new(context.queues(&settings)?);
    logging::start(&settings);
    if settings.admin_key.is_some() {
        tracing::warn!("LONGSHORE_ADMIN_KEY is set, but this version asks nobody for a key");
    }
    let shutdown = signals::listen()?;
    let plan = Plan {
        role: Role::Intake,
        store: open::store(&settings).await?,
        broker: open::broker(&settings, &queues)?,
        listener: bind(settings.listen).await?,
        queues,
        registry: Arc::new(context.registry),
        intake: true,
        work: None,
        migrate: false,
    };
    let node = Node::start(plan, shutdown).await?;
    tracing::info!(http.address = %node.address, "intake is up");
    node.finish().await?;
    tracing::info!("intake has stopped");
    Ok(())
}
