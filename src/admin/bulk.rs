use std::fmt::{self, Display};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

use super::selection::{MOMENT, filter_errors, moment, rate_in_range};
use super::{FieldError, Fields, Refusal};
use crate::job::json;
use crate::store::JobFilter;

const FIELDS: [&str; 14] = [
    "kind",
    "queue",
    "tag",
    "id",
    "code",
    "error",
    "error_pattern",
    "fingerprint",
    "since",
    "until",
    "all",
    "dry_run",
    "limit",
    "rate",
];

/// Highest `limit`: beyond it none is meant.
pub const MAX_LIMIT: u64 = 1_000_000_000;

/// What an operation on many dead jobs is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub struct BulkRequest {
    /// To which of them.
    pub filter: JobFilter,
    /// Nothing but counting.
    pub dry_run: bool,
    /// Jobs at most.
    pub limit: Option<u64>,
    /// Jobs a second at most.
    pub rate: Option<f64>,
}

/// One text or a list of them.
struct Several(Vec<String>);

impl<'de> Deserialize<'de> for Several {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Several;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<Several, E> {
                Ok(Several(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Several, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    texts.push(text);
                }
                Ok(Several(texts))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

impl BulkRequest {
    /// Reads a request as JSON and checks it.
    ///
    /// # Errors
    /// `Malformed` for what is not JSON, or `Invalid` with every field that is unknown or wrong,
    /// or when it asks for everything without saying so.
    pub fn read(body: &[u8]) -> Result<Self, Refusal> {
        json::canonical(body)?;
        let mut fields = Fields::split(body, "an operation", &FIELDS)
            .map_err(|error| Refusal::Invalid(vec![error]))?;
        let filter = JobFilter {
            states: Vec::new(),
            kinds: several(&mut fields, "kind"),
            queues: several(&mut fields, "queue"),
            tags: several(&mut fields, "tag"),
            ids: several(&mut fields, "id"),
            code: fields.optional("code", "a string"),
            error: fields.optional("error", "a string"),
            error_pattern: fields.optional("error_pattern", "a string"),
            fingerprint: fields.optional("fingerprint", "a string"),
            since: read_moment(&mut fields, "since"),
            until: read_moment(&mut fields, "until"),
        };
        let all = flag(&mut fields, "all");
        let dry_run = flag(&mut fields, "dry_run");
        let limit: Option<u64> = fields.optional("limit", "a whole number of jobs");
        if limit.is_some_and(|limit| !(1..=MAX_LIMIT).contains(&limit)) {
            fields.refuse("limit", &format!("must be from 1 to {MAX_LIMIT}"));
        }
        let rate: Option<f64> = fields.optional("rate", "a number of jobs a second");
        if let Some(Err(wrong)) = rate.map(rate_in_range) {
            fields.refuse("rate", &wrong);
        }
        for (part, message) in filter_errors(&filter) {
            fields.refuse(part, &message);
        }
        let mut errors = fields.errors();
        if errors.is_empty() && filter.is_empty() && !all && !dry_run {
            let say = "say which, by `queue`, `kind`, …; or `\"all\": true` for every dead job";
            errors.push(FieldError::new("", say));
        }
        if !errors.is_empty() {
            return Err(Refusal::Invalid(errors));
        }
        Ok(Self {
            filter,
            dry_run,
            limit,
            rate,
        })
    }
}

fn flag(fields: &mut Fields<'_>, name: &str) -> bool {
    fields.optional(name, "true or false").unwrap_or_default()
}

fn read_moment(fields: &mut Fields<'_>, name: &str) -> Option<chrono::DateTime<chrono::Utc>> {
    let text: String = fields.optional(name, MOMENT)?;
    moment(&text)
        .map_err(|wrong| fields.refuse(name, &wrong))
        .ok()
}

fn several<T: FromStr<Err: Display>>(fields: &mut Fields<'_>, name: &str) -> Vec<T> {
    let given = fields.optional(name, "a string or an array of strings");
    // Nothing selected must not pass for no restriction.
    if matches!(&given, Some(Several(texts)) if texts.is_empty()) {
        fields.refuse(name, "is empty; name at least one, or leave it out");
    }
    let Several(texts) = given.unwrap_or(Several(Vec::new()));
    let mut values = Vec::with_capacity(texts.len());
    for text in texts {
        match text.parse() {
            Ok(value) => values.push(value),
            Err(wrong) => fields.refuse(name, &format!("`{text}`: {wrong}")),
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(body: &str) -> Vec<String> {
        match BulkRequest::read(body.as_bytes()) {
            Err(Refusal::Invalid(errors)) => errors.into_iter().map(|e| e.pointer).collect(),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn an_empty_selection_is_not_everything() {
        let body = r#"{"queue": "email", "id": []}"#;
        assert_eq!(wrong(body), ["/id"]);
    }

    #[test]
    fn one_or_several_of_each() {
        let body = br#"{"queue": "email", "kind": ["a.b", "a.c"], "limit": 5,
                        "rate": 2, "since": "2026-03-01T10:00:00Z"}"#;
        let asked = BulkRequest::read(body).unwrap();
        assert_eq!(asked.filter.queues.len(), 1);
        assert_eq!(asked.filter.kinds.len(), 2);
        assert!(asked.filter.tags.is_empty() && asked.filter.since.is_some());
        assert_eq!((asked.limit, asked.rate), (Some(5), Some(2.0)));
        assert!(!asked.dry_run);
    }

    #[test]
    fn everything_must_be_asked_for() {
        assert_eq!(wrong("{}"), [""]);
        assert_eq!(wrong(r#"{"limit": 3, "all": false}"#), [""]);
        assert!(BulkRequest::read(br#"{"all": true}"#).is_ok());
        assert!(BulkRequest::read(br#"{"dry_run": true}"#).unwrap().dry_run);
    }

    #[test]
    fn every_wrong_field_is_named() {
        for (body, expected) in [
            (r#"{"qeueu": "email"}"#, vec!["/qeueu"]),
            (r#"{"queue": 5}"#, vec!["/queue"]),
            (
                r#"{"id": ["x"], "rate": 0, "limit": 0}"#,
                vec!["/id", "/limit", "/rate"],
            ),
            (
                r#"{"limit": -1, "since": "today"}"#,
                vec!["/since", "/limit"],
            ),
            (r#"{"all": true, "limit": 1000000001}"#, vec!["/limit"]),
            (r#"{"fingerprint": "xyz"}"#, vec!["/fingerprint"]),
        ] {
            assert_eq!(wrong(body), expected, "{body}");
        }
    }
}
