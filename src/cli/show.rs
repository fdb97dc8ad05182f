use chrono::{DateTime, Utc};

use super::output::Output;
use super::table::{list, table, text};
use crate::job::{JobView, ProgressView};
use crate::store::{DeadGroup, Operation};

/// Longest error text in a table cell, in characters.
const CELL: usize = 60;

/// A page of jobs; the first one has the header.
pub(super) fn jobs(out: Output, jobs: &[JobView], as_json: bool, first: bool) {
    if as_json {
        jobs.iter().for_each(|job| out.json(job));
        return;
    }
    if jobs.is_empty() {
        if first {
            out.line("no jobs");
        }
        return;
    }
    let mut rows = match first {
        true => table(&[
            "id", "queue", "kind", "state", "attempt", "created", "error",
        ]),
        false => list(),
    };
    for job in jobs {
        rows.add_row([
            job.id.to_string(),
            job.queue.to_string(),
            job.kind.to_string(),
            job.state.to_string(),
            job.attempt.to_string(),
            moment(job.created_at),
            job.error
                .as_ref()
                .map(|error| cell(&error.to_string()))
                .unwrap_or_default(),
        ]);
    }
    out.line(text(&mut rows));
}

/// Dead letters by cause.
pub(super) fn groups(out: Output, groups: &[DeadGroup], as_json: bool, first: bool) {
    if as_json {
        groups.iter().for_each(|group| out.json(group));
        return;
    }
    if groups.is_empty() {
        if first {
            out.line("no dead letters");
        }
        return;
    }
    let mut rows = match first {
        true => table(&["fingerprint", "count", "kind", "first", "last", "error"]),
        false => list(),
    };
    for group in groups {
        rows.add_row([
            group.fingerprint.clone(),
            group.count.to_string(),
            group.kind.clone(),
            moment(group.first_at),
            moment(group.last_at),
            cell(&format!("{}: {}", group.code, group.message)),
        ]);
    }
    out.line(text(&mut rows));
}

/// What operators did and do.
pub(super) fn operations(out: Output, operations: &[Operation], as_json: bool) {
    if as_json {
        operations.iter().for_each(|operation| out.json(operation));
        return;
    }
    if operations.is_empty() {
        out.line("no operations");
        return;
    }
    let mut rows = table(&[
        "id", "action", "state", "done", "matched", "by", "began", "which",
    ]);
    for operation in operations {
        rows.add_row([
            operation.id.to_string(),
            operation.action.to_string(),
            operation.state.to_string(),
            operation.done.to_string(),
            operation.matched.to_string(),
            cell(&operation.created_by),
            moment(operation.created_at),
            which(operation),
        ]);
    }
    out.line(text(&mut rows));
}

fn which(operation: &Operation) -> String {
    match &operation.filter {
        Some(filter) => cell(&serde_json::to_string(filter).unwrap_or_default()),
        None => "unreadable: another version of this program began it".to_owned(),
    }
}

/// `40 %: page 4 of 10`
fn progress(progress: &ProgressView) -> String {
    let percent = (progress.fraction * 100.0).round();
    match progress.message.as_str() {
        "" => format!("{percent} %"),
        message => format!("{percent} %: {}", line(message)),
    }
}

/// One job, with its attempts.
pub(super) fn job(out: Output, job: &JobView) {
    out.line(format!("{} {} {}", job.id, job.kind, job.state));
    let mut facts = list();
    let limit = job.max_attempts.map(|max| format!(" of {max}"));
    let optional = |at: Option<DateTime<Utc>>| at.map(moment).unwrap_or_default();
    let rows = [
        ("queue", job.queue.to_string()),
        (
            "attempt",
            format!("{}{}", job.attempt, limit.unwrap_or_default()),
        ),
        ("created", moment(job.created_at)),
        ("run at", optional(job.run_at)),
        ("started", optional(job.started_at)),
        ("finished", optional(job.finished_at)),
        (
            "progress",
            job.progress.as_ref().map(progress).unwrap_or_default(),
        ),
        (
            "waiting for",
            job.waiting_for
                .as_ref()
                .map(|waiting| waiting.message.clone())
                .unwrap_or_default(),
        ),
        (
            "error",
            job.error
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        ),
        (
            "result",
            job.result
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        ),
        ("tags", job.tags.join(", ")),
        ("payload", line(job.payload.get())),
        (
            "first payload",
            job.original_payload
                .as_ref()
                .map(|payload| line(payload.get()))
                .unwrap_or_default(),
        ),
        (
            "edited",
            job.edited_at
                .map(|at| {
                    format!(
                        "{} by {}",
                        moment(at),
                        job.edited_by.as_deref().unwrap_or("?")
                    )
                })
                .unwrap_or_default(),
        ),
        (
            "cancel",
            if job.cancel_requested {
                "requested"
            } else {
                ""
            }
            .to_owned(),
        ),
    ];
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        facts.add_row([format!("  {name}"), value]);
    }
    out.line(text(&mut facts));
    if !job.attempts().is_empty() {
        attempts(out, job);
    }
}

fn attempts(out: Output, job: &JobView) {
    let mut rows = table(&["attempt", "outcome", "started", "took", "worker", "error"]);
    for attempt in job.attempts() {
        let took = attempt
            .started_at
            .map(|started| format!("{:.3} s", seconds(attempt.finished_at - started)));
        rows.add_row([
            attempt.number.to_string(),
            attempt.outcome.clone(),
            attempt.started_at.map(moment).unwrap_or_default(),
            took.unwrap_or_default(),
            attempt.worker.clone().unwrap_or_default(),
            attempt
                .error
                .as_ref()
                .map(|error| cell(&error.to_string()))
                .unwrap_or_default(),
        ]);
    }
    out.line(text(&mut rows));
    for (attempt, error) in job
        .attempts()
        .iter()
        .filter_map(|a| Some((a, a.error.as_ref()?)))
    {
        let whole = line(&error.to_string());
        if whole.chars().count() > CELL {
            out.line(format!("  attempt {}: {whole}", attempt.number));
        }
    }
}

fn seconds(length: chrono::Duration) -> f64 {
    length.as_seconds_f64()
}

pub(super) fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}

/// All of it on one line, without what a terminal would act on.
fn line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// One line of at most [`CELL`] characters, without what a terminal would act on.
pub(super) fn cell(text: &str) -> String {
    let mut shown: String = line(text).chars().take(CELL).collect();
    if text.chars().nth(CELL).is_some() {
        shown.push('…');
    }
    shown
}
