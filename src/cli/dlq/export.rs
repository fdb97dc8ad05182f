use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt, stream};

use crate::admin::Letter;
use crate::cli::filter::FilterArgs;
use crate::cli::{CliError, Context, open};
use crate::config::{Queues, Settings};
use crate::job::{State, json};
use crate::store::{JobFilter, Page, Store};

/// Letters that are read at a time.
const PAGE: u32 = 200;
/// Letters whose attempts are asked for at the same time.
const AT_ONCE: usize = 3;

/// Arguments of `longshore dlq export`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Of these queues; all if none is named
    #[arg(value_name = "QUEUE")]
    names: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Write to this file, which is there only when it is whole; else to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `longshore dlq export`: dead letters as JSON lines, newest first. What dies meanwhile is not
/// in it; what is sent back meanwhile may be.
pub(super) async fn run(
    context: &Context,
    settings: &Settings,
    queues: &Queues,
    args: Args,
) -> Result<(), CliError> {
    let mut filter = args.filter.filter(&args.names)?;
    filter.states = vec![State::Dead];
    let store = open::ready_store(settings).await?;
    open::known_queues(&filter, queues, &*store).await?;
    let count = match &args.output {
        None => write(&*store, &filter, &mut io::stdout().lock()).await,
        Some(path) => to_file(&*store, &filter, path).await,
    };
    store.close().await;
    context
        .out
        .note(&format!("{} dead letters exported", count?));
    Ok(())
}

/// Beside the file, and in its place when all of it is on disk: who reads the file finds the old
/// one or all of the new one.
async fn to_file(store: &dyn Store, filter: &JobFilter, path: &Path) -> Result<u64, CliError> {
    let named = |error: io::Error| CliError::message(format!("{}: {error}", path.display()));
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = async {
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = BufWriter::new(options.open(&beside).map_err(named)?);
        let count = write(store, filter, &mut file).await?;
        let file = file
            .into_inner()
            .map_err(|error| named(error.into_error()))?;
        file.sync_all().map_err(named)?;
        fs::rename(&beside, path).map_err(named)?;
        Ok(count)
    };
    let written = written.await;
    if written.is_err() {
        // The error that matters is told.
        let _ = fs::remove_file(&beside);
    }
    written
}

async fn write(store: &dyn Store, filter: &JobFilter, to: &mut dyn Write) -> Result<u64, CliError> {
    let mut before = None;
    let mut count = 0;
    loop {
        let limit = PAGE;
        let page = store.list(filter, Page { limit, before }).await?;
        before = page.last().map(|job| job.id);
        let last = page.len() < PAGE as usize;
        let ids = page.into_iter().map(|job| job.id);
        let whole = stream::iter(ids).map(|id| store.job(id)).buffered(AT_ONCE);
        let whole: Vec<_> = whole.try_collect().await?;
        for letter in whole.into_iter().flatten().filter_map(Letter::of) {
            let line = serde_json::to_string(&letter).map_err(CliError::failed)?;
            let line = json::one_line(line);
            writeln!(to, "{line}").map_err(CliError::failed)?;
            count += 1;
        }
        if last {
            to.flush().map_err(CliError::failed)?;
            return Ok(count);
        }
    }
}
