use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::config::Queues;
use crate::job::{Kind, NewJob, Priority, Start};
use crate::worker::{Registry, json_pointer};

/// Largest payload, in bytes: far below what a broker takes (16 MiB), since each is held several
/// times over on its way.
const MAX_PAYLOAD: usize = 1024 * 1024;
/// Highest `max_attempts` of a job.
const MAX_ATTEMPTS: u32 = 1000;
/// Longest delay: what the stores' clocks can add without trouble.
const MAX_DELAY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Most tags of a job, and the longest tag in bytes.
const MAX_TAGS: (usize, usize) = (20, 100);
/// Names of the fields, for suggestions.
const FIELDS: [&str; 7] = [
    "kind",
    "payload",
    "run_at",
    "delay",
    "priority",
    "max_attempts",
    "tags",
];

/// A job as somebody asks for it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// What to do.
    pub kind: String,
    /// What the kind needs.
    #[schemars(with = "serde_json::Value")]
    pub payload: Box<RawValue>,
    /// Not before this moment, with a time zone.
    #[serde(default)]
    pub run_at: Option<DateTime<Utc>>,
    /// Not before this long from now: `30s`, `10m`.
    #[serde(default)]
    pub delay: Option<String>,
    /// Its lane.
    #[serde(default)]
    pub priority: Priority,
    /// Overrides the queue's limit.
    #[serde(default)]
    pub max_attempts: Option<u32>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the submission.
    pub pointer: String,
    /// What is wrong, and what was expected.
    pub message: String,
}

/// Why a submission is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not JSON.
    #[error("the body is not valid JSON: {message} at line {line}, column {column}")]
    Malformed {
        /// What the parser met.
        message: String,
        /// 1-based.
        line: usize,
        /// 1-based.
        column: usize,
    },
    /// No kind of that name.
    #[error("{0}")]
    UnknownKind(String),
    /// Well-formed, but not a valid job.
    #[error("{}", .0.iter().map(|e| format!("{}: {}", e.pointer, e.message)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<FieldError>),
}

impl Submission {
    /// Reads a submission.
    ///
    /// # Errors
    /// `Malformed` for what is not JSON, `Invalid` for wrong types and unknown fields.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        // Serde reads a struct from an array too, field by field: nobody means that.
        if body.trim_ascii_start().starts_with(b"[") {
            return Err(invalid("", "a job is a JSON object, not an array"));
        }
        let mut reader = serde_json::Deserializer::from_slice(body);
        let submission: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let inner = error.inner();
            if inner.is_data() {
                Refusal::Invalid(vec![field_error(&error)])
            } else {
                malformed(inner)
            }
        })?;
        reader.end().map_err(|error| malformed(&error))?;
        Ok(submission)
    }

    /// A digest of what is asked for, the same for the same JSON written differently: SHA-256
    /// of the body with sorted keys and no spaces.
    #[must_use]
    pub fn fingerprint(body: &[u8]) -> Vec<u8> {
        let canonical = serde_json::from_slice::<serde_json::Value>(body)
            .map_or_else(|_| body.to_vec(), |value| value.to_string().into_bytes());
        Sha256::digest(canonical).to_vec()
    }

    /// Checks everything that can be checked at the door, all errors at once.
    ///
    /// # Errors
    /// `UnknownKind`, or `Invalid` with every wrong field.
    pub fn into_job(self, registry: &Registry, queues: &Queues) -> Result<NewJob, Refusal> {
        let kind: Kind = self
            .kind
            .parse()
            .map_err(|error| invalid("/kind", &format!("{error}")))?;
        let entry = registry
            .get(kind.as_str())
            .ok_or_else(|| unknown_kind(&kind, registry))?;
        let queue = queues.of_kind(&kind).unwrap_or(&entry.queue).clone();
        let mut errors = Vec::new();
        let size = self.payload.get().len();
        if size > MAX_PAYLOAD {
            let message = format!("{size} bytes long; at most {MAX_PAYLOAD}");
            errors.push(field("/payload", &message));
        } else if let Err(wrong) = entry.check(self.payload.get().as_bytes()) {
            errors.extend(wrong.into_iter().map(|field| FieldError {
                pointer: format!("/payload{}", field.pointer),
                message: field.message,
            }));
        }
        let start = self.start().unwrap_or_else(|error| {
            errors.push(error);
            Start::Now
        });
        errors.extend(self.limit_errors());
        if !errors.is_empty() {
            return Err(Refusal::Invalid(errors));
        }
        let payload = String::from(Box::<str>::from(self.payload));
        Ok(NewJob {
            priority: self.priority,
            start,
            max_attempts: self.max_attempts,
            tags: self.tags,
            ..NewJob::new(kind, queue, payload)
        })
    }

    fn start(&self) -> Result<Start, FieldError> {
        match (&self.run_at, &self.delay) {
            (None, None) => Ok(Start::Now),
            (Some(at), None) => Ok(Start::At(*at)),
            (None, Some(delay)) => match humantime::parse_duration(delay) {
                Ok(delay) if delay <= MAX_DELAY => Ok(Start::After(delay)),
                Ok(_) => Err(field("/delay", "must be at most 10 years")),
                Err(error) => Err(field(
                    "/delay",
                    &format!("must be a duration like `30s`, `10m` or `2h`: {error}"),
                )),
            },
            (Some(_), Some(_)) => Err(field("/delay", "give `run_at` or `delay`, not both")),
        }
    }

    fn limit_errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self
            .max_attempts
            .is_some_and(|max| max == 0 || max > MAX_ATTEMPTS)
        {
            errors.push(field(
                "/max_attempts",
                &format!("must be from 1 to {MAX_ATTEMPTS}"),
            ));
        }
        if self.tags.len() > MAX_TAGS.0 {
            errors.push(field("/tags", &format!("at most {} tags", MAX_TAGS.0)));
        }
        for (index, tag) in self.tags.iter().enumerate() {
            if tag.is_empty() || tag.len() > MAX_TAGS.1 || tag.contains('\0') {
                errors.push(field(
                    &format!("/tags/{index}"),
                    &format!("a tag is 1 to {} bytes of text without NUL", MAX_TAGS.1),
                ));
            }
        }
        errors
    }
}

fn malformed(error: &serde_json::Error) -> Refusal {
    let text = error.to_string();
    let message = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(m, _)| m);
    Refusal::Malformed {
        message: message.to_owned(),
        line: error.line(),
        column: error.column(),
    }
}

fn field_error(error: &serde_path_to_error::Error<serde_json::Error>) -> FieldError {
    let text = error.inner().to_string();
    let message = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(m, _)| m);
    let pointer = json_pointer(error.path());
    let name = pointer.trim_start_matches('/');
    let suggestion = closest(name, FIELDS.into_iter())
        .filter(|_| message.starts_with("unknown field"))
        .map(|known| format!("; did you mean `{known}`?"))
        .unwrap_or_default();
    field(&pointer, &format!("{message}{suggestion}"))
}

fn unknown_kind(kind: &Kind, registry: &Registry) -> Refusal {
    let known: Vec<&str> = registry.iter().map(|(name, _)| name.as_str()).collect();
    let hint = closest(kind.as_str(), known.iter().copied()).map_or_else(
        || format!("known kinds: {}", known.join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    Refusal::UnknownKind(format!("no kind `{kind}` here; {hint}"))
}

/// The known name most like the one given, if it is like it at all.
fn closest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn field(pointer: &str, message: &str) -> FieldError {
    FieldError {
        pointer: pointer.to_owned(),
        message: message.to_owned(),
    }
}

fn invalid(pointer: &str, message: &str) -> Refusal {
    Refusal::Invalid(vec![field(pointer, message)])
}
