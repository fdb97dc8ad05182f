use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::config::closest;
use crate::job::json::{self, JsonFlaw, pointer_step};
use crate::worker::invalid;

/// What is wrong with a field, for programs: stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldCode {
    /// Missing, unknown, or of a wrong value; the message tells.
    Invalid,
    /// A kind that is not known here.
    UnknownKind,
    /// A payload of more bytes than one may have.
    TooLarge,
    /// A key that was sent before with something else.
    IdempotencyKeyReused,
}

impl FieldCode {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Invalid,
        Self::UnknownKind,
        Self::TooLarge,
        Self::IdempotencyKeyReused,
    ];
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// What is wrong, for programs.
    pub code: FieldCode,
    /// JSON pointer (RFC 6901) into the request's body.
    pub pointer: String,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl FieldError {
    /// A wrong field.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: FieldCode::Invalid,
            pointer: pointer.into(),
            message: message.into(),
        }
    }

    /// The same under a code of its own.
    #[must_use]
    pub const fn coded(mut self, code: FieldCode) -> Self {
        self.code = code;
        self
    }

    /// The same, seen from further up.
    #[must_use]
    pub fn within(mut self, pointer: &str) -> Self {
        self.pointer.insert_str(0, pointer);
        self
    }
}

/// Why a request is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not JSON.
    #[error("the body is not valid JSON: {message} at line {line}, column {column}")]
    Malformed {
        /// What the parser met.
        message: String,
        /// 1-based.
        line: usize,
        /// 1-based, in characters.
        column: usize,
    },
    /// No kind of that name.
    #[error("{0}")]
    UnknownKind(String),
    /// A payload that is too large.
    #[error("{}: {}", .0.pointer, .0.message)]
    TooLarge(FieldError),
    /// Well-formed, but not what was asked for.
    #[error("{}", .0.iter().map(|e| format!("{}: {}", e.pointer, e.message)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<FieldError>),
}

impl From<JsonFlaw> for Refusal {
    fn from(flaw: JsonFlaw) -> Self {
        match flaw {
            JsonFlaw::Syntax {
                message,
                line,
                column,
            } => Self::Malformed {
                message: message.to_owned(),
                line,
                column,
            },
            JsonFlaw::Ambiguous(flaws) => Self::Invalid(
                flaws
                    .into_iter()
                    .map(|(pointer, message)| FieldError::new(pointer, message))
                    .collect(),
            ),
        }
    }
}

/// Reads a value of a type, strictly (see [`crate::job::json`]).
///
/// # Errors
/// `Malformed` for what is not JSON, `Invalid` with the first field that the type cannot take.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Refusal> {
    json::check(text)?;
    typed(text).map_err(|error| Refusal::Invalid(vec![error]))
}

/// What is wrong is looked for only where something is: keeping the path costs more than reading.
fn typed<T: DeserializeOwned>(text: &[u8]) -> Result<T, FieldError> {
    if let Ok(value) = serde_json::from_slice(text) {
        return Ok(value);
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let wrong = invalid(&error);
        FieldError::new(wrong.pointer, wrong.message)
    })
}

/// The fields of one object, taken one by one, so that all that is wrong is told at once.
#[derive(Debug)]
pub struct Fields<'a> {
    known: &'static [&'static str],
    given: BTreeMap<String, &'a RawValue>,
    errors: Vec<FieldError>,
}

/// Unknown fields that are named in one answer.
const MAX_UNKNOWN: usize = 20;

impl<'a> Fields<'a> {
    /// Splits an object that [`json::check`] has passed; fields that are not `known` are
    /// errors. `what` names the object in messages: `a job`.
    ///
    /// # Errors
    /// When it is no object.
    pub fn split(
        text: &'a [u8],
        what: &str,
        known: &'static [&'static str],
    ) -> Result<Self, FieldError> {
        let given: BTreeMap<String, &RawValue> = serde_json::from_slice(text)
            .map_err(|_| FieldError::new("", format!("{what} is a JSON object")))?;
        let unknown = given.keys().filter(|name| !known.contains(&name.as_str()));
        let errors = unknown
            .take(MAX_UNKNOWN)
            .map(|name| FieldError::new(pointer_step(name), unknown_field(name, known)))
            .collect();
        Ok(Self {
            known,
            given,
            errors,
        })
    }

    /// True if a field is there, be it `null`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// A field that must be there.
    pub fn required<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Option<T> {
        if !self.given.contains_key(name) {
            self.refuse(name, &format!("missing; expected {expected}"));
            return None;
        }
        self.value(name, expected)
    }

    /// A field that must be there and may be anything, as it was written.
    pub fn raw(&mut self, name: &str, expected: &str) -> Option<&'a RawValue> {
        let given = self.given.get(name).copied();
        if given.is_none() {
            self.refuse(name, &format!("missing; expected {expected}"));
        }
        given
    }

    /// A field that may be missing, or `null`.
    pub fn optional<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Option<T> {
        let given = self.given.get(name)?;
        if given.get() == "null" {
            return None;
        }
        self.value(name, expected)
    }

    fn value<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Option<T> {
        debug_assert!(self.known.contains(&name));
        let text = self.given.get(name)?.get();
        match typed(text.as_bytes()) {
            Ok(value) => Some(value),
            Err(inner) if inner.pointer.is_empty() => {
                let found = json::name_of(text);
                self.refuse(name, &format!("expected {expected}, found {found}"));
                None
            }
            Err(inner) => {
                self.errors.push(inner.within(&pointer_step(name)));
                None
            }
        }
    }

    /// Marks a field as wrong.
    pub fn refuse(&mut self, name: &str, message: &str) {
        self.errors
            .push(FieldError::new(pointer_step(name), message));
    }

    /// The canonical text of the object without one of its fields.
    #[must_use]
    pub fn canonical_without(&self, name: &str) -> Vec<u8> {
        let kept: BTreeMap<&String, &RawValue> = self
            .given
            .iter()
            .filter(|(field, _)| *field != name)
            .map(|(field, value)| (field, *value))
            .collect();
        let text = serde_json::to_vec(&kept).unwrap_or_default();
        // What was canonical once is so without a member.
        json::canonical(&text).unwrap_or(text)
    }

    /// All that was wrong; empty if nothing was.
    #[must_use]
    pub fn errors(self) -> Vec<FieldError> {
        self.errors
    }
}

fn unknown_field(name: &str, known: &[&str]) -> String {
    match closest(name, known) {
        Some(near) => format!("unknown field; did you mean `{near}`?"),
        None => format!("unknown field; known are {}", known.join(", ")),
    }
}
