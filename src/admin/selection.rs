//! What may be asked for when jobs are looked for: the same for the API and the command line.

use chrono::{DateTime, Utc};

use crate::config::{Queues, closest};
use crate::job::QueueName;
use crate::store::{JobFilter, Page, Store, StoreResult};

/// How a moment is written.
pub const MOMENT: &str =
    "a moment with a time zone, like `2030-01-31T12:00:00Z` or `2030-01-31T14:00:00+02:00`";
/// Most values of one part of a filter; ids may be more.
const MAX_VALUES: usize = 100;
/// Most ids of a filter.
const MAX_IDS: usize = 1000;
/// Longest texts, in characters.
const MAX_TAG: usize = 100;
const MAX_TEXT: usize = 1000;
/// Jobs a second that a rate may ask for.
const RATES: std::ops::RangeInclusive<f64> = 0.001..=1_000_000.0;

/// A moment in RFC 3339, which always has a zone; to the microsecond, as stores keep it.
///
/// # Errors
/// What was expected.
pub fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .and_then(|moment| DateTime::from_timestamp_micros(moment.timestamp_micros()))
        .ok_or_else(|| format!("must be {MOMENT}"))
}

/// A rate in jobs a second: `50`, `0.5` or `50/s`.
///
/// # Errors
/// What was expected.
pub fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).trim();
    let rate = number.parse().map_err(|_| rate_rule())?;
    rate_in_range(rate)
}

/// A rate that can be kept.
///
/// # Errors
/// What was expected.
pub fn rate_in_range(rate: f64) -> Result<f64, String> {
    RATES.contains(&rate).then_some(rate).ok_or_else(rate_rule)
}

fn rate_rule() -> String {
    format!(
        "must be a number of jobs a second from {} to {}",
        RATES.start(),
        RATES.end()
    )
}

/// All that is wrong with the parts of a filter: the part's name, and what was expected.
#[must_use]
pub fn filter_errors(filter: &JobFilter) -> Vec<(&'static str, String)> {
    filter_errors_within(filter, MAX_IDS)
}

/// As [`filter_errors`], with up to this many ids.
#[must_use]
pub fn filter_errors_within(filter: &JobFilter, ids: usize) -> Vec<(&'static str, String)> {
    let mut errors = Vec::new();
    for (name, count, most) in [
        ("queue", filter.queues.len(), MAX_VALUES),
        ("kind", filter.kinds.len(), MAX_VALUES),
        ("tag", filter.tags.len(), MAX_VALUES),
        ("id", filter.ids.len(), ids),
    ] {
        if count > most {
            errors.push((name, format!("at most {most} of them")));
        }
    }
    let is_tag = |tag: &String| (1..=MAX_TAG).contains(&tag.chars().count()) && !tag.contains('\0');
    if !filter.tags.iter().all(is_tag) {
        let rule = format!("a tag is 1 to {MAX_TAG} characters without NUL");
        errors.push(("tag", rule));
    }
    for (name, text) in [("code", &filter.code), ("error", &filter.error)] {
        let fits =
            |text: &String| (1..=MAX_TEXT).contains(&text.chars().count()) && !text.contains('\0');
        if !text.as_ref().is_none_or(fits) {
            errors.push((
                name,
                format!("must be 1 to {MAX_TEXT} characters without NUL"),
            ));
        }
    }
    if let Some(pattern) = &filter.error_pattern
        && pattern.chars().count() > MAX_TEXT
    {
        let rule = format!("must be at most {MAX_TEXT} characters");
        errors.push(("error_pattern", rule));
    } else {
        match filter.pattern() {
            Ok(Some(pattern)) if pattern.matches("") => {
                let rule = "matches every error, even none: name something that it must hold";
                errors.push(("error_pattern", rule.to_owned()));
            }
            Ok(_) => {}
            Err(wrong) => {
                let rule = format!("is no regular expression: {wrong}");
                errors.push(("error_pattern", rule));
            }
        }
    }
    if let (Some(since), Some(until)) = (filter.since, filter.until)
        && since >= until
    {
        errors.push(("until", "must be later than `since`".to_owned()));
    }
    let is_print = |print: &String| print.len() == 16 && print.bytes().all(is_hex);
    if !filter.fingerprint.as_ref().is_none_or(is_print) {
        let rule = "must be 16 hexadecimal digits, as `GET /v1/dead-letters/groups` lists them";
        errors.push(("fingerprint", rule.to_owned()));
    }
    errors
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// What is wrong with the first of these queues that neither the configuration knows nor any job
/// is in, and what may have been meant.
///
/// # Errors
/// The store's.
pub async fn unknown_queue(
    names: &[QueueName],
    queues: &Queues,
    store: &dyn Store,
) -> StoreResult<Option<String>> {
    for name in names {
        if queues.get(name.as_str()).is_some() {
            continue;
        }
        let only = JobFilter {
            queues: vec![name.clone()],
            ..JobFilter::default()
        };
        let one = Page {
            limit: 1,
            before: None,
        };
        if store.list(&only, one).await?.is_empty() {
            let known: Vec<&str> = queues.names().map(QueueName::as_str).collect();
            let hint = match closest(name.as_str(), &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the queues are {}", known.join(", ")),
            };
            return Ok(Some(format!("no queue `{name}`; {hint}")));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_need_a_time_zone() {
        let at = moment("2026-03-01T11:00:00+01:00").unwrap();
        assert_eq!(at, moment("2026-03-01T10:00:00Z").unwrap());
        for wrong in ["2026-03-01T10:00:00", "yesterday", ""] {
            assert!(moment(wrong).unwrap_err().contains("time zone"), "{wrong}");
        }
    }

    #[test]
    fn rates_are_numbers_a_second() {
        assert_eq!(rate("50"), Ok(50.0));
        assert_eq!(rate("0.5/s"), Ok(0.5));
        for wrong in ["0", "-1", "inf", "NaN", "fast", "1e9"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_wrong_part_is_named() {
        assert!(filter_errors(&JobFilter::default()).is_empty());
        let wrong = JobFilter {
            tags: vec![String::new()],
            code: Some(String::new()),
            error: Some("x".repeat(MAX_TEXT + 1)),
            fingerprint: Some("ABC".to_owned()),
            ids: vec![crate::job::JobId::new(); MAX_IDS + 1],
            ..JobFilter::default()
        };
        let names: Vec<&str> = filter_errors(&wrong).iter().map(|e| e.0).collect();
        assert_eq!(names, ["id", "tag", "code", "error", "fingerprint"]);
    }
}
