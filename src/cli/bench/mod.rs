//! `longshore bench`: measures this installation.

mod part;
mod plan;
mod print;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{CliError, Context, logging, signals};
use crate::bench::Role;
use crate::store::Store;
use plan::Plan;

/// Arguments of `longshore bench`. Numbers are read here and not by the parser, so that all that
/// is wrong is told at once.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Jobs of each part, in whole batches of 500
    #[arg(long, value_name = "NUMBER", default_value = "50000")]
    jobs: String,
    /// Bytes of each payload (bench.noop: 200)
    #[arg(long, value_name = "BYTES")]
    payload: Option<String>,
    /// Jobs a second of the part that measures latencies
    #[arg(long, value_name = "NUMBER", default_value = "200")]
    rate: String,
    /// Run this kind with its example as the payload; its effects are real
    #[arg(long, value_name = "KIND", default_value = "bench.noop")]
    kind: String,
    /// Measure so often and print the medians, each share taken within its run
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    runs: String,
    /// Processes that run the jobs
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    workers: String,
    /// Queues that the jobs are spread over: bench, bench-2, …
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    queues: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// A process of a bench
    #[arg(long, hide = true, value_enum)]
    part: Option<Role>,
}

/// How long the part at a fixed rate takes.
const PACED_FOR: Duration = Duration::from_secs(10);

/// `longshore bench`
pub(super) async fn run(context: Context, args: Args) -> Result<(), CliError> {
    if let Some(role) = args.part {
        return part::run(context, role, &args).await;
    }
    let plan = Plan::make(&context, &args).await?;
    logging::start(&plan.settings);
    let out = context.out;
    if cfg!(debug_assertions) {
        out.note("warning: this is a debug build; its figures say nothing (cargo build --release)");
    }
    let bar = bar(out.is_terminal());
    let watch = |what: &str, done: u64, of: u64| {
        bar.set_message(what.to_owned());
        bar.set_length(of);
        bar.set_position(done.min(of));
    };
    let shutdown = signals::listen()?;
    plan.clean().await?;
    let head = plan.report().await?;
    let measured = Box::pin(plan.measure.run(&head, &watch));
    let measured = shutdown.drain.run_until_cancelled(measured).await;
    bar.finish_and_clear();
    let cleaned = plan.clean().await;
    plan.close().await;
    let report = match measured {
        None => {
            return Err(CliError::message(
                "interrupted; nothing of the bench is left",
            ));
        }
        Some(Err(error)) => return Err(CliError::failed(error)),
        Some(Ok(report)) => report,
    };
    cleaned?;
    if args.json {
        out.json(&report);
    } else {
        print::report(out, &report);
    }
    Ok(())
}

impl Plan {
    /// Nothing of a bench is left after this, also of one that was killed.
    async fn clean(&self) -> Result<(), CliError> {
        if let Some(subject) = &self.measure.subject {
            let removed = subject.broker.remove(&subject.queues).await;
            removed.map_err(CliError::failed)?;
            subject.store.erase(&subject.queues).await?;
        }
        if let Some(folder) = &self.folder {
            match std::fs::remove_dir_all(folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(CliError::failed(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn close(&self) {
        if let Some(subject) = &self.measure.subject {
            crate::broker::Broker::close(&*subject.broker).await;
            subject.store.close().await;
        }
    }
}

fn bar(shown: bool) -> ProgressBar {
    let target = if shown {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) = ProgressStyle::with_template("{msg:20} {wide_bar} {human_pos}/{human_len}") {
        bar.set_style(style);
    }
    bar
}
