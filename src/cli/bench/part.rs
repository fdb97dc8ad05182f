//! A process of a bench: an ordinary one, but for the bench's kind and queue. It does what it is
//! told over standard input and drains when that ends, so that it outlives no bench.

use std::sync::Arc;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::Args;
use super::plan::{prepare, queue_names};
use crate::bench::{Meter, Role};
use crate::cli::output::Output;
use crate::cli::{CliError, Context, logging, open, signals};
use crate::config::{Need, Queues, Settings};
use crate::intake::bind;
use crate::job::QueueName;
use crate::node::{Node, Plan, Shutdown, Work};
use crate::store;

#[derive(Serialize)]
struct Up {
    address: std::net::SocketAddr,
}

pub(super) async fn run(mut context: Context, role: Role, args: &Args) -> Result<(), CliError> {
    let need = match role {
        Role::Intake => Need::Intake,
        Role::Worker => Need::Worker,
        Role::Dev => Need::Dev,
    };
    let (settings, queues) = context.configured(need)?;
    let meter = Meter::default();
    // The bench itself has looked at it.
    let names = queue_names(args.queues.parse().unwrap_or(1))?;
    let queues = prepare(queues, &mut context.registry, &meter, &args.kind, &names)?;
    logging::start(&settings);
    let shutdown = signals::listen()?;
    let out = context.out;
    let plan = plan(context, &settings, (queues, names), role).await?;
    let node = Node::start(plan, shutdown.clone()).await?;
    let mut ends = node.ends();
    let counting = meter.clone();
    tokio::spawn(async move {
        while let Some(job) = ends.recv().await {
            counting.done(job);
        }
    });
    out.json(&Up {
        address: node.address,
    });
    tokio::spawn(obey(out, meter, shutdown));
    node.finish().await?;
    Ok(())
}

async fn plan(
    context: Context,
    settings: &Settings,
    (queues, names): (Queues, Vec<QueueName>),
    role: Role,
) -> Result<Plan, CliError> {
    let queues = Arc::new(queues);
    let works = role != Role::Intake;
    let work = match works {
        true => Some(Work {
            // Its own jobs crash nothing.
            isolation: None,
            handlers: Arc::new(
                context
                    .registry
                    .handlers(&queues, &names, &settings.worker)?,
            ),
            queues: names,
            shutdown_deadline: settings.shutdown_deadline,
        }),
        false => None,
    };
    let address = match role {
        Role::Worker => settings.health_listen.unwrap_or(settings.listen),
        Role::Intake | Role::Dev => settings.listen,
    };
    Ok(Plan {
        role: match role {
            Role::Intake => store::Role::Intake,
            Role::Worker => store::Role::Worker,
            Role::Dev => store::Role::Dev,
        },
        store: open::store(settings).await?,
        broker: open::broker(settings, &queues)?,
        listener: bind(address).await?,
        queues,
        registry: Arc::new(context.registry),
        intake: role != Role::Worker,
        admin_key: settings.admin_key.clone(),
        work,
        migrate: role == Role::Dev,
    })
}

async fn obey(out: Output, meter: Meter, shutdown: Shutdown) {
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(order)) = orders.next_line().await {
        match order.as_str() {
            "timings" => out.json(&meter.timings()),
            "reset" => {
                meter.reset();
                out.json(&meter.read());
            }
            _ => out.json(&meter.read()),
        }
    }
    shutdown.drain.cancel();
}
