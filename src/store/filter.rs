use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Difference;
use crate::job::{JobId, JobView, Kind, QueueName, State};

/// Which jobs. Every part that is given must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JobFilter {
    /// In one of these states; empty: in any.
    #[serde(rename = "state", skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<State>,
    /// In one of these queues; empty: in any.
    #[serde(rename = "queue", skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueName>,
    /// Of one of these kinds; empty: of any.
    #[serde(rename = "kind", skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
    /// With all of these tags.
    #[serde(rename = "tag", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// With this error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Accepted at this moment or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Accepted before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// With this text in their error's code or message, in upper or lower case (of ASCII).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// With an error whose `code: message` this regular expression matches somewhere, in the
    /// syntax of the `regex` crate: its time is linear in pattern and text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_pattern: Option<String>,
    /// Dead of an error with this fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// One of these; empty: any.
    #[serde(rename = "id", skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<JobId>,
}

/// How far a job's id may be from the moment of its acceptance: the one is made on the clock of
/// whoever accepts it, the other on the store's.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(5);

impl JobFilter {
    /// True if it lets every job through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// True if it asks for something that only an error has.
    #[must_use]
    pub fn is_about_errors(&self) -> bool {
        self.code.is_some()
            || self.error.is_some()
            || self.error_pattern.is_some()
            || self.fingerprint.is_some()
    }

    /// True if no index finds what it selects: jobs are looked at one by one.
    pub(super) fn is_sifted(&self) -> bool {
        self.ids.is_empty() && (self.error.is_some() || !self.tags.is_empty())
    }

    /// What an error's text must match, if that is asked for.
    ///
    /// # Errors
    /// Why the pattern is none, or too large to be compiled.
    pub fn pattern(&self) -> Result<Option<ErrorPattern>, String> {
        let Some(pattern) = &self.error_pattern else {
            return Ok(None);
        };
        let compiled = RegexBuilder::new(pattern)
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_BYTES)
            .build();
        compiled
            .map(|pattern| Some(ErrorPattern(pattern)))
            .map_err(|error| error.to_string())
    }

    /// The lowest and the first too high id that jobs of its time can have, so that an index on
    /// ids finds the neighbourhood; the moment itself is to be compared as well.
    pub(super) fn id_bounds(&self) -> (Option<Uuid>, Option<Uuid>) {
        (
            self.since.map(|since| first_id(since, -CLOCKS_APART)),
            self.until.map(|until| first_id(until, CLOCKS_APART)),
        )
    }
}

/// What a compiled pattern may take in memory, in bytes.
const PATTERN_BYTES: usize = 1 << 20;

/// A pattern of errors.
#[derive(Debug)]
pub struct ErrorPattern(Regex);

impl ErrorPattern {
    /// Whether it matches this `code: message`.
    #[must_use]
    pub fn matches(&self, error: &str) -> bool {
        self.0.is_match(error)
    }
}

/// The lowest id of a millisecond: a UUIDv7 begins with it (RFC 9562, section 5.7).
fn first_id(moment: DateTime<Utc>, shift: TimeDelta) -> Uuid {
    const LAST: u128 = (1 << 48) - 1;
    let shifted = moment.checked_add_signed(shift).unwrap_or(moment);
    let millis = u128::try_from(shifted.timestamp_millis()).unwrap_or_default();
    Uuid::from_u128(millis.min(LAST) << 80)
}

/// A page of a list that is sorted newest first.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Jobs on it at most.
    pub limit: u32,
    /// Only jobs older than this one.
    pub before: Option<JobId>,
}

/// Fills a page with the jobs that a pattern picks. No database knows such patterns: what else
/// matches is read on, a page of its own at a time, until the page is full.
pub(super) struct Sieve {
    pattern: ErrorPattern,
    room: usize,
    before: Option<JobId>,
    pub(super) found: Vec<JobView>,
}

impl Sieve {
    /// Jobs that are read at a time.
    const SCAN: u32 = 500;

    pub(super) const fn new(pattern: ErrorPattern, page: Page) -> Self {
        Self {
            pattern,
            room: page.limit as usize,
            before: page.before,
            found: Vec::new(),
        }
    }

    /// What to read next; `None` when the page is as full as it can be.
    pub(super) const fn next(&self) -> Option<Page> {
        if self.room == 0 {
            return None;
        }
        Some(Page {
            limit: Self::SCAN,
            before: self.before,
        })
    }

    /// Keeps what the pattern picks of what was read.
    pub(super) fn sift(&mut self, read: Vec<JobView>) {
        let more = read.len() == Self::SCAN as usize;
        self.before = read.last().map(|job| job.id);
        for job in read {
            let error = job.error.as_ref().map(ToString::to_string);
            if self.room > 0 && error.is_some_and(|error| self.pattern.matches(&error)) {
                self.found.push(job);
                self.room -= 1;
            }
        }
        if !more {
            self.room = 0;
        }
    }
}

/// How long a queue's finished jobs are kept, from their end.
#[derive(Debug, Clone)]
pub struct Retention {
    /// The queue; ignored in a fallback.
    pub queue: Option<QueueName>,
    /// Succeeded and cancelled ones.
    pub finished: Duration,
    /// Dead ones.
    pub dead: Duration,
}

/// How many jobs a queue holds in each state.
#[derive(Debug, Clone, Serialize)]
pub struct Counts {
    /// The queue.
    pub queue: String,
    /// States without jobs are absent.
    pub states: BTreeMap<State, u64>,
}

/// The balance sheet of jobs: `accepted = live + succeeded + dead + cancelled + pruned`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Counted at acceptance, apart from the rows.
    pub accepted: u64,
    /// Scheduled, queued, running and retrying.
    pub live: u64,
    /// Succeeded and still kept.
    pub succeeded: u64,
    /// Dead and still kept.
    pub dead: u64,
    /// Cancelled and still kept.
    pub cancelled: u64,
    /// Removed after their retention.
    pub pruned: u64,
}

impl Tally {
    /// Of what was counted apart, and of the rows of each queue by state.
    pub(super) fn of<'a>(
        accepted: u64,
        pruned: u64,
        queues: impl Iterator<Item = &'a BTreeMap<State, u64>>,
    ) -> Self {
        let mut tally = Self {
            accepted,
            pruned,
            ..Self::default()
        };
        for (state, count) in queues.flatten() {
            *match state {
                State::Succeeded => &mut tally.succeeded,
                State::Dead => &mut tally.dead,
                State::Cancelled => &mut tally.cancelled,
                State::Scheduled | State::Queued | State::Running | State::Retrying => {
                    &mut tally.live
                }
            } += count;
        }
        tally
    }

    /// What does not add up, in words.
    pub(super) fn difference(&self) -> Option<Difference> {
        let missing = self.missing();
        let detail = match missing {
            0 => return None,
            1.. => format!("{missing} more were accepted than there are rows and pruned jobs"),
            _ => format!(
                "there are {} more rows and pruned jobs than were accepted",
                -missing
            ),
        };
        Some(Difference { job: None, detail })
    }

    /// Accepted jobs that no row accounts for; negative when there are more rows than jobs.
    #[must_use]
    pub fn missing(&self) -> i128 {
        i128::from(self.accepted)
            - [
                self.live,
                self.succeeded,
                self.dead,
                self.cancelled,
                self.pruned,
            ]
            .into_iter()
            .map(i128::from)
            .sum::<i128>()
    }
}
