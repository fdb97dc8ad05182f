use super::output::Output;
use super::show;
use crate::admin::complete;
use crate::config::Queues;
use crate::store::{JobFilter, Page, Store, StoreResult};

/// Jobs that are read and printed at a time.
const PAGE: u32 = 500;
/// What is listed when nothing is said.
const DEFAULT: u64 = 50;

/// How much of a list is wanted.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Much {
    /// How many at most [default: 50]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// All of them, however many
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl Much {
    /// How many at most.
    pub(super) fn most(&self) -> u64 {
        if self.all {
            u64::MAX
        } else {
            self.limit.unwrap_or(DEFAULT)
        }
    }
}

/// Elements of the next page, if this many are left; one more is read, which tells whether the
/// list goes on.
pub(super) fn next_page(left: u64) -> u32 {
    u32::try_from(left).unwrap_or(PAGE).min(PAGE)
}

/// Prints jobs, page by page, newest first: nothing but a page is in memory. What is left out is
/// said.
pub(super) async fn jobs(
    out: Output,
    store: &dyn Store,
    queues: &Queues,
    filter: &JobFilter,
    much: &Much,
    as_json: bool,
) -> StoreResult<()> {
    let mut left = much.most();
    let mut before = None;
    loop {
        let size = next_page(left);
        let limit = size + 1;
        let mut jobs = store.list(filter, Page { limit, before }).await?;
        let more = jobs.len() > size as usize;
        jobs.truncate(size as usize);
        jobs.iter_mut().for_each(|job| complete(job, queues));
        show::jobs(out, &jobs, as_json, before.is_none());
        left -= jobs.len() as u64;
        before = jobs.last().map(|job| job.id);
        if !more {
            return Ok(());
        }
        if left == 0 {
            tell_of_more(out);
            return Ok(());
        }
    }
}

/// On stderr, beside what a program reads.
pub(super) fn tell_of_more(out: Output) {
    out.note("… and more; --limit N shows N of them, --all all");
}
