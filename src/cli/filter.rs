use std::time::Duration;

use chrono::{DateTime, Utc};

use super::CliError;
use crate::admin::{MOMENT, filter_errors, moment};
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
            ids: self.ids.clone(),
        };
        let wrong: Vec<String> = filter_errors(&filter)
            .into_iter()
            .map(|(part, message)| format!("--{part}: {message}"))
            .collect();
        match wrong.as_slice() {
            [] => Ok(filter),
            wrong => Err(CliError::wrong(wrong)),
        }
    }
}
