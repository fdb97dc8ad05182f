use super::table::{table, text};
use super::{CliError, Context, open};
use crate::broker::{BrokerError, ObjectStatus};
use crate::config::Need;

/// Arguments of `longshore topology`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Declare what is missing
    #[arg(long)]
    apply: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// `longshore topology [--apply]`: exit code 1 when something is missing or different.
pub(super) async fn run(context: Context, args: Args) -> Result<(), CliError> {
    let (settings, queues) = context.configured(Need::Topology)?;
    let broker = open::broker(&settings, &queues)?;
    if args.apply {
        match broker.declare().await {
            // Shown in the table below, beside what is in order.
            Ok(()) | Err(BrokerError::Different(_)) => {}
            Err(error) => {
                broker.close().await;
                return Err(mendable(&error));
            }
        }
    }
    let objects = broker.topology().await;
    broker.close().await;
    let objects = objects.map_err(|error| mendable(&error))?;
    print(&context, &args, &objects);
    if objects.iter().all(|object| object.status == "declared") {
        Ok(())
    } else {
        Err(CliError::silent())
    }
}

fn mendable(error: &BrokerError) -> CliError {
    CliError::message(format!("{error}. To fix it, {}", error.fix()))
}

fn print(context: &Context, args: &Args, objects: &[ObjectStatus]) {
    if args.json {
        objects.iter().for_each(|object| context.out.json(object));
        return;
    }
    let mut rows = table(&["object", "name", "status", "should be"]);
    for object in objects {
        rows.add_row([object.object, &object.name, object.status, &object.expected]);
    }
    context.out.line(text(&mut rows));
    for object in objects {
        if let Some(detail) = &object.detail {
            context.out.line(format!("{}: {detail}", object.name));
        }
    }
    if objects.iter().any(|object| object.status == "missing") {
        context
            .out
            .line("Missing objects are declared by `longshore topology --apply`, or by the first process that starts.");
    }
}
