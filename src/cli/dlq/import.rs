use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::progress::Progress;
use crate::admin::{Letter, next_line, unknown_queue};
use crate::cli::operator::operator;
use crate::cli::{CliError, Context, open};
use crate::config::{Queues, Settings};
use crate::job::{JobId, QueueName};
use crate::store::{NewLetter, Store};

/// Letters of one transaction, and their bytes, give or take a letter.
const BATCH: usize = 100;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Wrong lines that are told.
const TOLD: usize = 20;
/// How often a batch is tried again whose answer was lost: what it did is left alone then.
const RETRIES: u32 = 3;

/// Arguments of `longshore dlq import`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// What `longshore dlq export` has written
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only check it
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `longshore dlq import`: brings exported letters back as dead jobs with their ids. Every line
/// is checked before anything is touched; a job that is there already is left alone.
pub(super) async fn run(
    context: &Context,
    settings: &Settings,
    queues: &Queues,
    args: Args,
) -> Result<(), CliError> {
    let mut letters = Letters::open(&args.file)?;
    let in_queues = letters.check()?;
    let store = open::ready_store(settings).await?;
    if let Some(unknown) = unknown_queue(&in_queues, queues, &*store).await? {
        return Err(CliError::usage(format!(
            "{}: {unknown}",
            args.file.display()
        )));
    }
    let count = letters.count;
    if args.dry_run {
        store.close().await;
        if args.json {
            context
                .out
                .json(&json!({"dry_run": true, "letters": count}));
        } else {
            context
                .out
                .line(format!("{count} letters, all of them readable"));
        }
        return Ok(());
    }
    letters.rewind()?;
    let entered = enter(context, &*store, &mut letters, args.json).await;
    store.close().await;
    let (imported, there) = entered?;
    if args.json {
        let told = json!({"letters": count, "imported": imported, "already_there": there});
        context.out.json(&told);
    } else {
        context
            .out
            .line(format!("{imported} imported, {there} there already"));
    }
    Ok(())
}

async fn enter(
    context: &Context,
    store: &dyn Store,
    letters: &mut Letters,
    as_json: bool,
) -> Result<(u64, u64), CliError> {
    let (by, source) = (operator(), letters.path.display().to_string());
    let source: String = source.chars().take(500).collect();
    let (mut imported, mut there) = (0, 0);
    let progress = Progress::start(context.out);
    loop {
        progress.at("import", imported + there, letters.count);
        let batch = letters.batch()?;
        if batch.is_empty() {
            progress.clear();
            return Ok((imported, there));
        }
        let mut tries = 0;
        let answers = loop {
            match store.import(&batch, &by, &source).await {
                Err(error) if error.is_transient() && tries < RETRIES => tries += 1,
                answer => break answer?,
            }
        };
        for (letter, new) in batch.iter().zip(answers) {
            if new {
                imported += 1;
            } else {
                there += 1;
                if !as_json {
                    let told = format!("{} is there already: left alone", letter.id);
                    progress.aside(|| context.out.line(told));
                }
            }
        }
    }
}

/// A file of letters, read line by line.
struct Letters {
    path: PathBuf,
    file: BufReader<File>,
    number: u64,
    count: u64,
    line: Vec<u8>,
}

impl Letters {
    fn open(path: &Path) -> Result<Self, CliError> {
        let file = File::open(path);
        let file = file.map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            number: 0,
            count: 0,
            line: Vec::new(),
        })
    }

    fn rewind(&mut self) -> Result<(), CliError> {
        self.number = 0;
        let back = self.file.rewind();
        back.map_err(|error| self.wrong(&error.to_string()))
    }

    fn wrong(&self, why: &str) -> CliError {
        CliError::usage(format!("{}: {why}", self.path.display()))
    }

    fn next(&mut self) -> Result<Option<Result<Letter, String>>, CliError> {
        let more = next_line(&mut self.file, &mut self.number, &mut self.line);
        match more {
            Err(why) => Err(self.wrong(&why)),
            Ok(false) => Ok(None),
            Ok(true) => {
                let letter = Letter::read(&self.line);
                let number = self.number;
                Ok(Some(letter.map_err(|why| format!("line {number}: {why}"))))
            }
        }
    }

    /// Reads all of it; the queues that it is about.
    fn check(&mut self) -> Result<Vec<QueueName>, CliError> {
        let mut ids: HashSet<JobId> = HashSet::new();
        let mut queues: HashSet<QueueName> = HashSet::new();
        let mut wrong = Vec::new();
        while let Some(letter) = self.next()? {
            match letter {
                Ok(letter) => {
                    self.count += 1;
                    if !ids.insert(letter.id()) {
                        let (number, id) = (self.number, letter.id());
                        wrong.push(format!("line {number}: job {id} is in it twice"));
                    }
                    if !queues.contains(letter.queue()) {
                        queues.insert(letter.queue().clone());
                    }
                }
                Err(why) => wrong.push(why),
            }
            if wrong.len() > TOLD {
                wrong.push("and perhaps more".to_owned());
                break;
            }
        }
        if !wrong.is_empty() {
            wrong.push("nothing was imported".to_owned());
            let told = wrong
                .iter()
                .map(|why| format!("{}: {why}", self.path.display()));
            return Err(CliError::wrong(&told.collect::<Vec<_>>()));
        }
        if self.count == 0 {
            return Err(self.wrong("there is no letter in it"));
        }
        let mut queues: Vec<QueueName> = queues.into_iter().collect();
        queues.sort_unstable();
        Ok(queues)
    }

    /// What changed since it was checked is met with an error.
    fn batch(&mut self) -> Result<Vec<NewLetter>, CliError> {
        let mut batch: Vec<NewLetter> = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            match self.next()? {
                None => break,
                Some(Ok(letter)) => {
                    bytes += self.line.len();
                    batch.push(letter.into_new());
                }
                Some(Err(why)) => return Err(self.wrong(&why)),
            }
        }
        Ok(batch)
    }
}
