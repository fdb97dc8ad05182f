//! Lists of jobs: which ones, and which page of them.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use schemars::{JsonSchema, json_schema};
use serde::Serialize;
use uuid::Uuid;

use super::call::CallBuilder;
use super::declaration::{Parameter, of};
use super::query::Query;
use super::{Intake, Problem};
use crate::admin::{complete, cursor, filter_errors, moment, place};
use crate::job::{JobId, JobView, Kind, QueueName};
use crate::store::{JobFilter, Page};

/// Elements of a page when none is asked for, and at most.
pub(super) const PAGE: (u32, u32) = (50, 500);

/// A moment in a query.
struct Moment(DateTime<Utc>);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // In a query a `+` that is not encoded is a space: that of `+01:00`.
        moment(&text.replace(' ', "+")).map(Self)
    }
}

/// Declares the parameters of a filter.
pub(super) fn filtered(call: CallBuilder) -> CallBuilder {
    let query = Parameter::query;
    let tag = |_: &mut _| json_schema!({"type": "string", "minLength": 1, "maxLength": 100});
    let text = |_: &mut _| json_schema!({"type": "string", "minLength": 1, "maxLength": 1000});
    let pattern = |_: &mut _| json_schema!({"type": "string", "maxLength": 1000});
    let print = |_: &mut _| json_schema!({"type": "string", "pattern": "^[0-9a-f]{16}$"});
    call.parameter(query("kind", of::<Kind>, "Of one of these kinds.").many())
        .parameter(query("queue", of::<QueueName>, "In one of these queues.").many())
        .parameter(query("tag", tag, "With all of these tags.").many())
        .parameter(query("id", of::<JobId>, "One of these, at most 1000.").many())
        .parameter(query("code", text, "With this error code."))
        .parameter(query(
            "error",
            text,
            "With this text in the error's code or message, in upper or lower case.",
        ))
        .parameter(query(
            "error_pattern",
            pattern,
            "With an error whose `code: message` this regular expression matches somewhere.",
        ))
        .parameter(query(
            "fingerprint",
            print,
            "Dead of an error with this fingerprint.",
        ))
        .parameter(query(
            "since",
            of::<DateTime<Utc>>,
            "Accepted at this moment or later.",
        ))
        .parameter(query(
            "until",
            of::<DateTime<Utc>>,
            "Accepted before this moment.",
        ))
}

/// Declares the parameters of a page.
pub(super) fn paged(call: CallBuilder) -> CallBuilder {
    let limit = |_: &mut _| json_schema!({"type": "integer", "minimum": 1, "maximum": PAGE.1, "default": PAGE.0});
    call.parameter(Parameter::query("limit", limit, "How many on the page."))
        .parameter(Parameter::query(
            "cursor",
            of::<String>,
            "`next_cursor` of the page before, with the same filter.",
        ))
}

/// Reads a filter; what is wrong with it is gathered in the query.
pub(super) fn filter(query: &mut Query) -> JobFilter {
    let filter = JobFilter {
        states: Vec::new(),
        kinds: query.all("kind"),
        queues: query.all("queue"),
        tags: query.all("tag"),
        code: query.one("code"),
        since: query.one("since").map(|Moment(at)| at),
        until: query.one("until").map(|Moment(at)| at),
        error: query.one("error"),
        error_pattern: query.one("error_pattern"),
        fingerprint: query.one("fingerprint"),
        ids: query.all("id"),
    };
    for (name, message) in filter_errors(&filter) {
        query.refuse(name, &message);
    }
    filter
}

/// A page that is asked for.
pub(super) struct Asked {
    pub(super) limit: u32,
    pub(super) before: Option<Uuid>,
}

/// Reads which page of a list with that filter.
pub(super) fn page(query: &mut Query, list: &str, filter: &impl Serialize) -> Asked {
    let limit = query.one("limit").unwrap_or(PAGE.0);
    if limit == 0 || limit > PAGE.1 {
        query.refuse("limit", &format!("must be from 1 to {}", PAGE.1));
    }
    let given: Option<String> = query.one("cursor");
    let before = given.and_then(|text| {
        place(list, filter, &text)
            .map_err(|wrong| query.refuse("cursor", wrong))
            .ok()
    });
    Asked { limit, before }
}

/// Jobs, newest first, and where the next page begins. Typed, because payloads are kept as they
/// were sent: what `serde_json::Value` cannot hold (`1e999`) must still be shown.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct JobPage {
    items: Vec<JobView>,
    next_cursor: Option<String>,
}

/// A page of the jobs that match.
pub(super) async fn jobs(
    intake: &Intake,
    list: &str,
    filter: &JobFilter,
    asked: Asked,
) -> Result<JobPage, Problem> {
    // One more than asked for tells whether there is a next page.
    let page = Page {
        limit: asked.limit + 1,
        before: asked.before.map(JobId::from),
    };
    let mut items = intake.store.list(filter, page).await?;
    let full = items.len() > asked.limit as usize;
    items.truncate(asked.limit as usize);
    let last = items.last().filter(|_| full);
    let next_cursor = last.map(|job| cursor(list, filter, job.id.uuid()));
    for job in &mut items {
        complete(job, &intake.queues);
    }
    Ok(JobPage { items, next_cursor })
}
