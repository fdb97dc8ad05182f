use schemars::JsonSchema;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::fields::{FieldCode, FieldError, Fields, Refusal};
use super::submission::{Draft, Submission};
use crate::config::Queues;
use crate::job::json::{self, JsonFlaw};
use crate::job::{NewJob, UniqueKey};
use crate::worker::Registry;

/// Most jobs of a batch.
pub const MAX_BATCH: usize = 1000;
/// Longest idempotency key, in characters, which are all ASCII.
pub const MAX_KEY: usize = 255;
/// Wrong fields that are named in full; beyond it only the first of each job is.
const MANY_ERRORS: usize = 1000;

/// How the jobs of a batch are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchForm {
    /// A JSON array.
    Array,
    /// One JSON object a line; empty lines mean nothing.
    Lines,
}

/// A job of a batch, as somebody asks for it.
#[derive(Debug, JsonSchema)]
#[schemars(transform = one_object)]
#[expect(dead_code, reason = "it is read field by field; this is its schema")]
pub struct BatchItem {
    /// As the header `Idempotency-Key` of a single submission: the same key and body are the
    /// same job.
    #[schemars(regex(pattern = r"^[!-~]([ -~]{0,253}[!-~])?$"))]
    idempotency_key: Option<String>,
    #[serde(flatten)]
    job: Submission,
}

/// Flattening loses the refusal of unknown fields.
fn one_object(schema: &mut schemars::Schema) {
    schema.remove("unevaluatedProperties");
    schema.insert("additionalProperties".to_owned(), false.into());
}

/// Names of an item's fields.
const FIELDS: [&str; 8] = [
    "kind",
    "payload",
    "run_at",
    "delay",
    "priority",
    "max_attempts",
    "tags",
    "idempotency_key",
];

/// Reads a batch and checks all of it. Idempotency keys are `owner`'s.
///
/// # Errors
/// `Malformed` for what is not JSON; `Invalid` with the wrong fields of every bad job, each
/// pointer beginning with the job's position, from 0.
pub fn read_batch(
    body: &[u8],
    form: BatchForm,
    owner: &str,
    registry: &Registry,
    queues: &Queues,
) -> Result<Vec<NewJob>, Refusal> {
    let items = match form {
        BatchForm::Array => array(body)?,
        BatchForm::Lines => lines(body)?,
    };
    if items.is_empty() || items.len() > MAX_BATCH {
        // Lines are not counted further than needed.
        let given = match items.len() {
            0 => "0".to_owned(),
            _ => format!("more than {MAX_BATCH}"),
        };
        let message = format!("a batch is 1 to {MAX_BATCH} jobs; these are {given}");
        return Err(Refusal::Invalid(vec![FieldError::new("", message)]));
    }
    let mut jobs = Vec::with_capacity(items.len());
    let mut errors = Vec::new();
    for (at, item) in items.into_iter().enumerate() {
        match item.and_then(|item| read_item(item, owner, registry, queues)) {
            Ok(job) => jobs.push(job),
            Err(wrong) => {
                let room = MANY_ERRORS.saturating_sub(errors.len()).max(1);
                let pointer = format!("/{at}");
                let wrong = wrong.into_iter().take(room);
                errors.extend(wrong.map(|error| error.within(&pointer)));
            }
        }
    }
    if errors.is_empty() {
        Ok(jobs)
    } else {
        Err(Refusal::Invalid(errors))
    }
}

/// The text of one job, or what in it can be read in two ways.
type Item<'a> = Result<&'a str, Vec<FieldError>>;

fn array(body: &[u8]) -> Result<Vec<Item<'_>>, Refusal> {
    let flaw = json::check(body).err();
    if let Some(flaw @ JsonFlaw::Syntax { .. }) = flaw {
        return Err(flaw.into());
    }
    let items: Vec<&RawValue> = serde_json::from_slice(body).map_err(|_| {
        let message = "a batch is a JSON array of jobs";
        Refusal::Invalid(vec![FieldError::new("", message)])
    })?;
    let texts = items.into_iter().map(RawValue::get);
    match flaw {
        None => Ok(texts.map(Ok).collect()),
        // Not every flaw of the whole is told: each item is asked for its own.
        Some(_) => texts.take(MAX_BATCH + 1).map(item).collect(),
    }
}

fn item(text: &str) -> Result<Item<'_>, Refusal> {
    match json::check(text.as_bytes()).map_err(Refusal::from) {
        Ok(()) => Ok(Ok(text)),
        Err(Refusal::Invalid(errors)) => Ok(Err(errors)),
        Err(other) => Err(other),
    }
}

/// Each line is checked by itself, and errors speak of lines and positions of the whole.
fn lines(body: &[u8]) -> Result<Vec<Item<'_>>, Refusal> {
    let mut items = Vec::new();
    for (number, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        items.push(match json::check(line).map_err(Refusal::from) {
            Ok(()) => Ok(std::str::from_utf8(line).unwrap_or_default()),
            Err(Refusal::Invalid(errors)) => Err(errors),
            Err(Refusal::Malformed {
                message, column, ..
            }) => {
                return Err(Refusal::Malformed {
                    message,
                    line: number + 1,
                    column,
                });
            }
            Err(other) => return Err(other),
        });
        if items.len() > MAX_BATCH {
            break;
        }
    }
    Ok(items)
}

fn read_item(
    item: &str,
    owner: &str,
    registry: &Registry,
    queues: &Queues,
) -> Result<NewJob, Vec<FieldError>> {
    let mut fields =
        Fields::split(item.as_bytes(), "a job", &FIELDS).map_err(|error| vec![error])?;
    let draft = Draft::take(&mut fields);
    let key: Option<String> = fields.optional("idempotency_key", "a string");
    if key.as_deref().is_some_and(|key| !is_key(key)) {
        fields.refuse("idempotency_key", &key_rule());
    }
    let unique = key.map(|key| UniqueKey {
        scope: owner.to_owned(),
        key,
        // As a single submission's, whose key is not part of its body.
        fingerprint: Sha256::digest(fields.canonical_without("idempotency_key")).to_vec(),
    });
    match draft.check(fields.errors(), registry, queues) {
        Ok(job) => Ok(NewJob { unique, ..job }),
        Err(Refusal::Invalid(errors)) => Err(errors),
        Err(Refusal::UnknownKind(message)) => {
            let unknown = FieldError::new("/kind", message);
            Err(vec![unknown.coded(FieldCode::UnknownKind)])
        }
        Err(other) => Err(vec![FieldError::new("", other.to_string())]),
    }
}

/// Whether a text may be an idempotency key: what a header's value can be, so that a key can
/// travel either way.
#[must_use]
pub fn is_key(key: &str) -> bool {
    let printable = |byte: u8| (b' '..=b'~').contains(&byte);
    !key.is_empty()
        && key.len() <= MAX_KEY
        && key.bytes().all(printable)
        && !key.starts_with(' ')
        && !key.ends_with(' ')
}

/// What [`is_key`] asks for, for messages.
#[must_use]
pub fn key_rule() -> String {
    format!("must be 1 to {MAX_KEY} printable ASCII characters, with no space at either end")
}
