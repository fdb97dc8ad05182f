use std::sync::Arc;

use super::{CliError, Context, logging, open, signals};
use crate::config::Need;
use crate::intake::bind;
use crate::node::{Node, Plan};
use crate::store::Role;

/// `longshore intake`
pub(super) async fn run(mut context: Context) -> Result<(), CliError> {
    let (settings, queues) = context.configured(Need::Intake)?;
    context.registry.open_doors(&settings.worker)?;
    let queues = Arc::new(queues);
    logging::start(&settings);
    let shutdown = signals::listen()?;
    let plan = Plan {
        role: Role::Intake,
        store: open::store(&settings).await?,
        broker: open::broker(&settings, &queues)?,
        listener: bind(settings.listen).await?,
        queues,
        registry: Arc::new(context.registry),
        intake: true,
        admin_key: settings.admin_key.clone(),
        work: None,
        migrate: false,
    };
    let node = Node::start(plan, shutdown).await?;
    tracing::info!(http.address = %node.address, "intake is up");
    if node.is_open() {
        tracing::warn!(
            "there is no API key: any program on this machine may call; \
             `longshore keys create NAME` ends that"
        );
    }
    node.finish().await?;
    tracing::info!("intake has stopped");
    Ok(())
}
