mod demo;
mod lock;

use std::sync::Arc;

use super::{CliError, Context, logging, open, signals};
use crate::config::{BreakerConfig, BrokerUrl, DatabaseUrl, Need, QueueConfig, Queues, Settings};
use crate::demo::{DEMO_QUEUE, Demo};
use crate::intake::bind;
use crate::job::{QueueName, RetryPolicy};
use crate::node::{Node, Plan, Work};
use crate::store::Role;
use std::time::Duration;

/// Arguments of `longshore dev`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Submit sample jobs and show them as they move
    #[arg(long)]
    demo: bool,
    /// With --demo: stop when it is done; exit code 0 if every job ended as it should
    #[arg(long, requires = "demo")]
    exit: bool,
}

/// `longshore dev [--demo]`
pub(super) async fn run(mut context: Context, args: Args) -> Result<(), CliError> {
    let (mut settings, _) = context.configured(Need::Dev)?;
    let demo = context.demo.take().filter(|_| args.demo);
    if args.demo && demo.is_none() {
        return Err(CliError::usage("--demo: this program brings no demo"));
    }
    if let Some(demo) = &demo {
        let added = demo.register(&mut context.registry);
        added.map_err(|error| CliError::usage(error.to_string()))?;
        if context.settings.log.is_none() {
            // The table tells of the jobs; what is wrong with the rest must still be said.
            settings.log = "warn,longshore::worker=error".to_owned();
        }
    }
    let queues = with_demo_queue(context.queues()?, demo.as_ref());
    logging::start(&settings);
    let shutdown = signals::listen()?;
    let plan = plan(&mut context, &settings, Arc::new(queues)).await?;
    let _lock = match settings.database() {
        Ok(DatabaseUrl::Sqlite(path)) => Some(lock::take(path)?),
        _ => None,
    };
    let node = Node::start(plan, shutdown.clone()).await?;
    greet(&context, &settings, &node);
    let verdict = match &demo {
        Some(demo) => demo::play(&context, &settings, demo, &node, &shutdown).await,
        None => Ok(()),
    };
    if args.exit || verdict.is_err() {
        shutdown.drain.cancel();
    }
    node.finish().await?;
    context
        .out
        .line("Stopped. Start it again and what was waiting goes on.");
    verdict
}

async fn plan(
    context: &mut Context,
    settings: &Settings,
    queues: Arc<Queues>,
) -> Result<Plan, CliError> {
    let names: Vec<QueueName> = queues.names().cloned().collect();
    let mut registry = std::mem::take(&mut context.registry);
    let handlers = registry.handlers(&queues, &names, &settings.worker)?;
    registry.open_doors(&settings.worker)?;
    Ok(Plan {
        role: Role::Dev,
        store: open::store(settings).await?,
        broker: open::broker(settings, &queues)?,
        listener: bind(settings.listen).await?,
        queues,
        registry: Arc::new(registry),
        intake: true,
        admin_key: settings.admin_key.clone(),
        work: Some(Work {
            queues: names,
            handlers: Arc::new(handlers),
            shutdown_deadline: settings.shutdown_deadline,
        }),
        migrate: true,
    })
}

fn with_demo_queue(mut queues: Queues, demo: Option<&Demo>) -> Queues {
    if let (Some(_), Some(queue)) = (demo, queues.get(DEMO_QUEUE).cloned()) {
        let patient = QueueConfig {
            concurrency: 4,
            prefetch: 16,
            timeout: Duration::from_secs(20),
            // Quick enough to watch.
            retry: RetryPolicy {
                max_attempts: 4,
                initial: Duration::from_millis(600),
                jitter: 0.2,
                ..RetryPolicy::default()
            },
            breaker: BreakerConfig {
                failures: 5,
                cooldown: Duration::from_secs(1),
            },
            ..queue
        };
        if let Ok(name) = DEMO_QUEUE.parse() {
            queues.insert(name, patient);
        }
    }
    queues
}

fn greet(context: &Context, settings: &Settings, node: &Node) {
    let out = context.out;
    let store = settings.database().map(ToString::to_string);
    let broker = match settings.broker() {
        Ok(BrokerUrl::Amqp(urls)) => urls.to_string(),
        _ => "embedded".to_owned(),
    };
    out.line(format!("Longshore {} is up.", env!("CARGO_PKG_VERSION")));
    out.line(format!("  API     http://{}/v1/jobs", node.address));
    out.line(format!("  health  http://{}/readyz", node.address));
    if node.is_open() {
        out.line(
            "  keys    none: any program on this machine may call; see `longshore keys create`",
        );
    }
    out.line(format!("  store   {}", store.unwrap_or_default()));
    out.line(format!("  broker  {broker}"));
    if let Some(mail) = &settings.worker.smtp_url
        && let Some(folder) = mail.expose().strip_prefix("file://")
    {
        out.line(format!("  mail    {folder}/"));
    }
    out.line("Ctrl-C stops it; nothing that was accepted is lost.");
}
