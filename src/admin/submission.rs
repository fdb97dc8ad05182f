use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::json as value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::batch::{is_key, key_rule};
use super::fields::{FieldCode, FieldError, Fields, Refusal};
use super::selection::{MOMENT, moment};
use crate::config::{Queues, closest};
use crate::job::{Kind, MAX_PAYLOAD, NameError, NewJob, Priority, Start, UniqueKey, json};
use crate::worker::{KindEntry, Registry};

/// Highest `max_attempts` of a job.
pub(super) const MAX_ATTEMPTS: u32 = 1000;
/// What `max_attempts` is, for messages.
const LIMIT: &str = "a whole number from 1 to 1000";
/// Longest delay: what the stores' clocks can add without trouble.
const MAX_DELAY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Most tags of a job, and the longest tag in characters.
pub(super) const MAX_TAGS: (usize, usize) = (20, 100);
/// What `delay` is, for messages.
const DURATION: &str = "a duration like `30s`, `10m` or `2h`, as a string";
/// Names of the fields.
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
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = one_start)]
pub struct Submission {
    /// What to do.
    #[schemars(with = "Kind")]
    pub kind: String,
    /// What the kind needs.
    #[schemars(with = "serde_json::Value")]
    pub payload: Box<RawValue>,
    /// Not before this moment, with a time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<DateTime<Utc>>,
    /// Not before this long from now: `30s`, `10m`, `2h`. With `run_at` it is one too many.
    #[schemars(regex(
        pattern = r"^([0-9]{1,11}ms|[0-9]{1,8}s|[0-9]{1,6}m|[0-9]{1,4}h|[0-9]{1,3}d)$"
    ))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// Its lane.
    #[serde(default)]
    pub priority: Priority,
    /// Overrides the queue's limit.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Labels to find it by.
    #[schemars(
        length(max = 20),
        inner(length(min = 1, max = 100), regex(pattern = r"^[^\u0000]*$"))
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl Submission {
    /// Reads a submission as JSON and checks everything that can be checked at the door.
    ///
    /// # Errors
    /// `Malformed` for what is not JSON, `TooLarge`, `UnknownKind`, or `Invalid` with every field
    /// that is missing, unknown or wrong.
    pub fn read(body: &[u8], registry: &Registry, queues: &Queues) -> Result<NewJob, Refusal> {
        json::check(body)?;
        let mut fields =
            Fields::split(body, "a job", &FIELDS).map_err(|error| Refusal::Invalid(vec![error]))?;
        let draft = Draft::take(&mut fields);
        let payload = draft.payload.as_ref().map(|payload| payload.get());
        if let Some(error) = payload.and_then(too_large) {
            return Err(Refusal::TooLarge(error));
        }
        let mut errors = fields.errors();
        for error in &mut errors {
            if error.pointer == "/idempotency_key" {
                error.message = "send it as the header `Idempotency-Key`".to_owned();
            }
        }
        draft.check(errors, registry, queues)
    }

    /// Checks everything that can be checked at the door, all errors at once: the payload as
    /// strictly as [`Submission::read`], and the idempotency key, which is `owner`'s.
    ///
    /// # Errors
    /// `UnknownKind`, or `Invalid` with every wrong field.
    pub fn into_job(
        self,
        owner: &str,
        key: Option<String>,
        registry: &Registry,
        queues: &Queues,
    ) -> Result<NewJob, Refusal> {
        let mut errors = json_errors(self.payload.get());
        if key.as_deref().is_some_and(|key| !is_key(key)) {
            errors.push(FieldError::new("/idempotency_key", key_rule()));
        }
        let unique = key.map(|key| UniqueKey {
            scope: owner.to_owned(),
            key,
            fingerprint: Self::fingerprint(&serde_json::to_vec(&self).unwrap_or_default()),
        });
        let draft = Draft {
            kind: Some(self.kind),
            payload: Some(self.payload),
            run_at: self.run_at,
            delay: self.delay,
            priority: self.priority,
            max_attempts: self.max_attempts,
            tags: self.tags,
        };
        let job = draft.check(errors, registry, queues)?;
        Ok(NewJob { unique, ..job })
    }

    /// A digest of what is asked for, the same for whatever says the same: SHA-256 of the
    /// canonical text (see [`json::canonical`]).
    #[must_use]
    pub fn fingerprint(body: &[u8]) -> Vec<u8> {
        let canonical = json::canonical(body).unwrap_or_else(|_| body.to_vec());
        Sha256::digest(canonical).to_vec()
    }
}

/// The schema's way to say that `run_at` and `delay` exclude each other.
fn one_start(schema: &mut Schema) {
    let text = value!({"type": "string"});
    let both = value!({
        "properties": {"run_at": text, "delay": text},
        "required": ["run_at", "delay"],
    });
    schema.insert("not".to_owned(), both);
}

/// What could be read of a submission.
#[derive(Debug)]
pub(super) struct Draft {
    kind: Option<String>,
    payload: Option<Box<RawValue>>,
    run_at: Option<DateTime<Utc>>,
    delay: Option<String>,
    priority: Priority,
    max_attempts: Option<u32>,
    tags: Vec<String>,
}

impl Draft {
    /// Takes what is a submission's from an object.
    pub(super) fn take(fields: &mut Fields<'_>) -> Self {
        let run_at: Option<String> = fields.optional("run_at", MOMENT);
        let run_at = run_at.and_then(|text| {
            let moment = moment(&text);
            moment.map_err(|rule| fields.refuse("run_at", &rule)).ok()
        });
        Self {
            kind: fields.required("kind", "the job's kind, a string"),
            payload: fields
                .raw("payload", "what the kind needs")
                .map(ToOwned::to_owned),
            run_at,
            delay: fields.optional("delay", DURATION),
            priority: fields
                .optional("priority", "`normal` or `high`")
                .unwrap_or_default(),
            max_attempts: fields.optional("max_attempts", LIMIT),
            tags: fields
                .optional("tags", "an array of strings")
                .unwrap_or_default(),
        }
    }

    /// The job, if nothing was wrong before (`errors`) and nothing is found wrong now.
    pub(super) fn check(
        self,
        mut errors: Vec<FieldError>,
        registry: &Registry,
        queues: &Queues,
    ) -> Result<NewJob, Refusal> {
        let start = self.start().unwrap_or_else(|error| {
            errors.push(error);
            Start::Now
        });
        errors.extend(self.limit_errors());
        let known = self.kind.as_deref().and_then(|text| registry.find(text));
        let (kind, entry) = match (known, &self.kind) {
            (Some((kind, entry)), _) => (Some(kind.clone()), Some(entry)),
            (None, Some(text)) => {
                let kind = text.parse::<Kind>();
                let wrong = |error: NameError| FieldError::new("/kind", error.to_string());
                (kind.map_err(|error| errors.push(wrong(error))).ok(), None)
            }
            (None, None) => (None, None),
        };
        if let (Some(entry), Some(payload)) = (entry, &self.payload) {
            errors.extend(payload_errors(entry, payload.get()));
        }
        match (kind, entry, self.payload) {
            (Some(kind), Some(entry), Some(payload)) if errors.is_empty() => {
                let queue = queues.of_kind(&kind).unwrap_or(&entry.queue).clone();
                let payload = String::from(Box::<str>::from(payload));
                Ok(NewJob {
                    priority: self.priority,
                    start,
                    max_attempts: self.max_attempts,
                    tags: self.tags,
                    ..NewJob::new(kind, queue, payload)
                })
            }
            (Some(kind), None, _) if errors.is_empty() => {
                Err(Refusal::UnknownKind(no_such_kind(&kind, registry)))
            }
            (Some(kind), None, _) => {
                let unknown = FieldError::new("/kind", no_such_kind(&kind, registry));
                errors.insert(0, unknown.coded(FieldCode::UnknownKind));
                Err(Refusal::Invalid(errors))
            }
            _ => Err(Refusal::Invalid(errors)),
        }
    }

    fn start(&self) -> Result<Start, FieldError> {
        let wrong = |message: String| Err(FieldError::new("/delay", message));
        match (&self.run_at, &self.delay) {
            (None, None) => Ok(Start::Now),
            (Some(at), None) => Ok(Start::At(*at)),
            (None, Some(delay)) if delay.trim_start().starts_with('-') => {
                wrong(format!("may not be negative; expected {DURATION}"))
            }
            (None, Some(delay)) => match humantime::parse_duration(delay) {
                Ok(delay) if delay <= MAX_DELAY => Ok(Start::After(delay)),
                Ok(_) => wrong("must be at most 10 years".to_owned()),
                Err(error) => wrong(format!("expected {DURATION}: {error}")),
            },
            (Some(_), Some(_)) => wrong("give `run_at` or `delay`, not both".to_owned()),
        }
    }

    fn limit_errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self
            .max_attempts
            .is_some_and(|max| max == 0 || max > MAX_ATTEMPTS)
        {
            let message = format!("must be from 1 to {MAX_ATTEMPTS}");
            errors.push(FieldError::new("/max_attempts", message));
        }
        if self.tags.len() > MAX_TAGS.0 {
            let message = format!("at most {} tags", MAX_TAGS.0);
            errors.push(FieldError::new("/tags", message));
        }
        for (index, tag) in self.tags.iter().take(MAX_TAGS.0).enumerate() {
            if tag.is_empty() || tag.chars().count() > MAX_TAGS.1 || tag.contains('\0') {
                let message = format!("a tag is 1 to {} characters without NUL", MAX_TAGS.1);
                errors.push(FieldError::new(format!("/tags/{index}"), message));
            }
        }
        errors
    }
}

/// What makes a payload ambiguous or no JSON, where no reader of a whole body has looked: such a
/// payload would be another one to the worker than to who sent it.
pub(super) fn json_errors(payload: &str) -> Vec<FieldError> {
    let flaw = json::check(payload.as_bytes()).err().map(Refusal::from);
    let errors = match flaw {
        None => Vec::new(),
        Some(Refusal::Invalid(errors)) => errors,
        Some(other) => vec![FieldError::new("", other.to_string())],
    };
    let within = errors.into_iter().map(|error| error.within("/payload"));
    within.collect()
}

pub(super) fn payload_errors(entry: &KindEntry, payload: &str) -> Vec<FieldError> {
    if let Some(error) = too_large(payload) {
        return vec![error];
    }
    let wrong = entry.check(payload.as_bytes()).err().unwrap_or_default();
    wrong
        .into_iter()
        .map(|field| FieldError::new(field.pointer, field.message).within("/payload"))
        .collect()
}

fn too_large(payload: &str) -> Option<FieldError> {
    let size = payload.len();
    if size <= MAX_PAYLOAD {
        return None;
    }
    let message = format!("{size} bytes long; at most {MAX_PAYLOAD}");
    Some(FieldError::new("/payload", message).coded(FieldCode::TooLarge))
}

fn no_such_kind(kind: &Kind, registry: &Registry) -> String {
    let known: Vec<&str> = registry.iter().map(|(name, _)| name.as_str()).collect();
    let hint = closest(kind.as_str(), &known).map_or_else(
        || format!("known kinds: {}", known.join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    format!("no kind `{kind}` here; {hint}")
}

#[cfg(test)]
mod tests {
    use super::{LIMIT, MAX_ATTEMPTS};

    #[test]
    fn the_limit_is_told_as_it_is() {
        assert_eq!(LIMIT, format!("a whole number from 1 to {MAX_ATTEMPTS}"));
    }
}
