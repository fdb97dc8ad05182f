use super::CliError;
use crate::job::{JobId, Kind, QueueName};
use crate::store::JobFilter;

/// Which jobs, as flags.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct FilterArgs {
    /// Of this kind
    #[arg(long)]
    kind: Option<Kind>,
    /// With this error code
    #[arg(long)]
    code: Option<String>,
    /// This job; may be given again
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<JobId>,
}

impl FilterArgs {
    /// True if no flag was given.
    pub(super) fn is_empty(&self) -> bool {
        self.kind.is_none() && self.code.is_none() && self.ids.is_empty()
    }

    /// The filter, within these queues (any if none is named). A queue that the configuration
    /// does not know may still hold jobs, so only its form is checked.
    pub(super) fn filter(&self, queues: &[String]) -> Result<JobFilter, CliError> {
        let queues: Result<Vec<QueueName>, _> = queues.iter().map(|name| name.parse()).collect();
        Ok(JobFilter {
            states: Vec::new(),
            queues: queues.map_err(|error| CliError::usage(error.to_string()))?,
            kinds: self.kind.clone().into_iter().collect(),
            code: self.code.clone(),
            ids: self.ids.clone(),
            ..JobFilter::default()
        })
    }
}
