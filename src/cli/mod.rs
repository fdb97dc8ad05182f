//! The command line: one file a subcommand. It reads arguments, calls what does the work, and
//! prints.

mod audit;
mod bench;
mod dev;
mod dlq;
mod doctor;
mod error;
mod filter;
mod intake;
mod jobs;
mod keys;
mod listing;
mod logging;
mod migrate;
mod open;
mod operator;
mod output;
mod queues;
mod remote;
mod show;
mod signals;
mod submit;
mod table;
mod topology;
mod verify;
mod work;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::app::App;
use crate::config::SettingsArgs;
use crate::demo::Demo;
use crate::worker::Registry;
use error::CliError;
use output::Output;

/// Runs background jobs on RabbitMQ and can prove that it lost none.
#[derive(Debug, Parser)]
#[command(
    name = "longshore",
    version,
    max_term_width = 100,
    propagate_version = true
)]
struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one process; embedded unless the URLs are set
    Dev(dev::Args),
    /// HTTP API and relay
    Intake,
    /// A worker process for these queues
    Work(work::Args),
    /// Bring the database to this version
    Migrate(migrate::Args),
    /// Broker objects: declared, missing, different
    Topology(topology::Args),
    /// Submit a job
    Submit(submit::Args),
    /// Look at jobs
    #[command(subcommand)]
    Jobs(jobs::Args),
    /// Look at dead letters and send them back
    #[command(subcommand)]
    Dlq(dlq::Args),
    /// Look at queues, pause and resume them
    #[command(subcommand)]
    Queues(queues::Args),
    /// Who did what, when: what operators did, newest first
    Audit(audit::Args),
    /// API keys: who may ask the intake for what
    #[command(subcommand)]
    Keys(keys::Args),
    /// The balance sheet; exit code 1 when it does not add up
    Verify(verify::Args),
    /// Check settings, connections, versions and topology; say how to fix them
    Doctor(doctor::Args),
    /// Measure this installation, with processes and a queue of its own
    Bench(bench::Args),
}

/// What every subcommand may need.
#[derive(Debug)]
struct Context {
    settings: SettingsArgs,
    registry: Registry,
    demo: Option<Demo>,
    out: Output,
}

impl App {
    /// Reads the command line and does what it says. The exit code is 0 when that was done, 1
    /// when it failed, 2 for wrong usage or settings.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let out = Output;
        match parse(self, out) {
            Ok((context, command)) => match execute(context, command) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => error.report(out),
            },
            Err(error) => error.report(out),
        }
    }
}

fn parse(app: App, out: Output) -> Result<(Context, Command), CliError> {
    let (registry, demo) = app
        .into_parts()
        .map_err(|mistakes| CliError::usage(mistakes.join("\n")))?;
    let matches = Cli::command().get_matches();
    let cli =
        Cli::from_arg_matches(&matches).map_err(|error| CliError::usage(error.to_string()))?;
    let context = Context {
        settings: cli.settings,
        registry,
        demo,
        out,
    };
    Ok((context, cli.command))
}

fn execute(context: Context, command: Command) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::failed)?;
    let done = runtime.block_on(async {
        match command {
            Command::Dev(args) => Box::pin(dev::run(context, args)).await,
            Command::Intake => Box::pin(intake::run(context)).await,
            Command::Work(args) => Box::pin(work::run(context, args)).await,
            Command::Migrate(args) => migrate::run(context, args).await,
            Command::Topology(args) => topology::run(context, args).await,
            Command::Submit(args) => Box::pin(submit::run(context, args)).await,
            Command::Jobs(args) => jobs::run(context, args).await,
            Command::Dlq(args) => Box::pin(dlq::run(context, args)).await,
            Command::Queues(args) => Box::pin(queues::run(context, args)).await,
            Command::Audit(args) => audit::run(context, args).await,
            Command::Keys(args) => keys::run(context, args).await,
            Command::Verify(args) => Box::pin(verify::run(context, args)).await,
            Command::Doctor(args) => Box::pin(doctor::run(context, args)).await,
            Command::Bench(args) => Box::pin(bench::run(context, args)).await,
        }
    });
    // A handler that never yields must not hold the exit: its job has been handed back.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    done
}
