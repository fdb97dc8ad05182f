//! Dead jobs by cause, where a pattern decides which: no database knows such patterns.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::{DeadGroup, ErrorPattern};
use crate::job::JobId;

/// Causes that are told apart at once: all of them are in memory until the last job was seen.
const MOST: usize = 50_000;

/// The error of a dead job.
pub(super) struct DeadError {
    pub(super) id: JobId,
    pub(super) fingerprint: String,
    pub(super) kind: String,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) finished_at: DateTime<Utc>,
}

/// Groups the errors that a pattern picks. Messages are left to be looked up: a page has few.
pub(super) struct Causes {
    pattern: ErrorPattern,
    groups: HashMap<(String, String, String), DeadGroup>,
}

impl Causes {
    pub(super) fn new(pattern: ErrorPattern) -> Self {
        Self {
            pattern,
            groups: HashMap::new(),
        }
    }

    /// Counts one, if the pattern picks it.
    ///
    /// # Errors
    /// That there are too many causes.
    pub(super) fn add(&mut self, dead: DeadError) -> sqlx::Result<()> {
        if !self
            .pattern
            .matches(&format!("{}: {}", dead.code, dead.message))
        {
            return Ok(());
        }
        let cause = (dead.fingerprint, dead.kind, dead.code);
        if let Some(group) = self.groups.get_mut(&cause) {
            group.count += 1;
            group.first_at = group.first_at.min(dead.finished_at);
            group.last_at = group.last_at.max(dead.finished_at);
            group.sample = group.sample.max(dead.id);
            return Ok(());
        }
        if self.groups.len() >= MOST {
            let many = format!("more than {MOST} causes match; narrow the filter");
            return Err(sqlx::Error::InvalidArgument(many));
        }
        let (fingerprint, kind, code) = cause.clone();
        let first = DeadGroup {
            fingerprint,
            kind,
            code,
            count: 1,
            first_at: dead.finished_at,
            last_at: dead.finished_at,
            sample: dead.id,
            message: String::new(),
        };
        self.groups.insert(cause, first);
        Ok(())
    }

    /// The largest groups first, without the first `skip`.
    pub(super) fn page(self, limit: u32, skip: u32) -> Vec<DeadGroup> {
        let mut groups: Vec<DeadGroup> = self.groups.into_values().collect();
        groups.sort_unstable_by_key(|group| std::cmp::Reverse((group.count, group.sample)));
        let page = groups.into_iter().skip(skip as usize);
        page.take(limit as usize).collect()
    }
}
