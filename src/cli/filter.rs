use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::CliError;
use crate::admin::{MOMENT, filter_errors_within, moment};
use crate::job::{JobId, Kind, QueueName};
use crate::store::JobFilter;

/// Which jobs, as flags.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct FilterArgs {
    /// Of this kind; may be given again
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<Kind>,
    /// With this tag; given again, with all of them
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// With this error code
    #[arg(long)]
    code: Option<String>,
    /// With this text in the error
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// With an error whose `code: message` this regular expression matches
    #[arg(long, value_name = "REGEX")]
    error_pattern: Option<String>,
    /// With an error of this fingerprint (see `dlq list --group`)
    #[arg(long)]
    fingerprint: Option<String>,
    /// Accepted at this moment or later: RFC 3339 with a time zone, or how long ago, as 24h
    #[arg(long, value_name = "WHEN", value_parser = when)]
    since: Option<DateTime<Utc>>,
    /// Accepted before this moment
    #[arg(long, value_name = "WHEN", value_parser = when)]
    until: Option<DateTime<Utc>>,
    /// This job; may be given again
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<JobId>,
    /// The jobs of this file: an id a line; `#` begins a comment
    #[arg(long, value_name = "FILE")]
    ids_file: Option<PathBuf>,
}

/// Most ids of a command, in a file or not: they are kept with the operation.
const MAX_IDS: usize = 10_000;
/// Longest file of ids in bytes: that many, with room for comments.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Wrong lines that are told.
const TOLD: usize = 10;

/// The ids of a file; every line must be one.
fn ids_of(path: &Path) -> Result<Vec<JobId>, CliError> {
    let named = |why: String| CliError::usage(format!("--ids-file {}: {why}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| named(error.to_string()))?;
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    match read.map_err(|error| named(error.to_string()))? as u64 {
        0..=MAX_FILE => {}
        _ => return Err(named(format!("more than {MAX_FILE} bytes; split it"))),
    }
    let (mut ids, mut wrong) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let id = line.split('#').next().unwrap_or_default().trim();
        match id.parse::<JobId>() {
            _ if id.is_empty() => {}
            Ok(id) => ids.push(id),
            Err(_) => wrong.push(format!("line {}: `{id}` is no job's id", number + 1)),
        }
    }
    if let Some(more) = wrong.len().checked_sub(TOLD).filter(|more| *more > 0) {
        wrong.truncate(TOLD);
        wrong.push(format!("and {more} more"));
    }
    if !wrong.is_empty() {
        return Err(named(wrong.join("; ")));
    }
    // Nothing selected must not pass for no restriction.
    if ids.is_empty() {
        return Err(named("it names no job".to_owned()));
    }
    Ok(ids)
}

/// A moment, or how long ago it was.
fn when(text: &str) -> Result<DateTime<Utc>, String> {
    let ago = |ago: Duration| Utc::now().checked_sub_signed(chrono::Duration::from_std(ago).ok()?);
    match humantime::parse_duration(text) {
        Ok(length) => ago(length).ok_or_else(|| "too long ago".to_owned()),
        Err(_) => moment(text).map_err(|_| format!("must be {MOMENT}, or how long ago, as `24h`")),
    }
}

impl FilterArgs {
    /// The filter, within these queues (any if none is named). A queue that the configuration
    /// does not know may still hold jobs, so only its form is checked.
    pub(super) fn filter(&self, queues: &[String]) -> Result<JobFilter, CliError> {
        let queues: Result<Vec<QueueName>, _> = queues.iter().map(|name| name.parse()).collect();
        let mut ids = self.ids.clone();
        if let Some(path) = &self.ids_file {
            ids.extend(ids_of(path)?);
        }
        let filter = JobFilter {
            states: Vec::new(),
            queues: queues.map_err(|error| CliError::usage(error.to_string()))?,
            kinds: self.kinds.clone(),
            tags: self.tags.clone(),
            code: self.code.clone(),
            since: self.since,
            until: self.until,
            error: self.error.clone(),
            fingerprint: self.fingerprint.clone(),
            error_pattern: self.error_pattern.clone(),
            ids,
        };
        let wrong: Vec<String> = filter_errors_within(&filter, MAX_IDS)
            .into_iter()
            .map(|(part, message)| format!("--{}: {message}", part.replace('_', "-")))
            .collect();
        match wrong.as_slice() {
            [] => Ok(filter),
            wrong => Err(CliError::wrong(wrong)),
        }
    }
}
