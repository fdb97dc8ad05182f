use serde_json::json;

use super::{CliError, Context, open};
use crate::config::Need;

/// Arguments of `longshore migrate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `longshore migrate`
pub(super) async fn run(context: Context, args: Args) -> Result<(), CliError> {
    let settings = context.settings.clone().validate(Need::Operator)?;
    let store = open::store(&settings).await?;
    let version = store.version().await?;
    let mut applied = store.migrate().await?;
    applied += store.extend(context.registry.migrations()).await?;
    store.close().await;
    if args.json {
        context
            .out
            .json(&json!({"database": version, "applied": applied}));
    } else if applied == 0 {
        context.out.line(format!("{version}: already up to date"));
    } else {
        context
            .out
            .line(format!("{version}: {applied} migrations applied"));
    }
    Ok(())
}
