use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest error message kept, in bytes. A peer may answer with megabytes.
const MAX_MESSAGE: usize = 4096;
/// Longest error code kept, in bytes.
const MAX_CODE: usize = 128;

/// What kind of failure an error is; it decides what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// May work next time; counts an attempt.
    Retryable,
    /// The handler did not end within the queue's timeout; counts an attempt.
    Timeout,
    /// The handler panicked; counts an attempt.
    Panic,
    /// Will never work: dead at once.
    Permanent,
    /// Something the job needs is down; counts no attempt.
    Unavailable,
    /// Something outside is under way and has not come to its end; counts no attempt.
    Waiting,
    /// The message or payload cannot be understood: dead at once.
    Invalid,
}

impl ErrorClass {
    /// The class's name, as in the API and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retryable => "retryable",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::Permanent => "permanent",
            Self::Unavailable => "unavailable",
            Self::Waiting => "waiting",
            Self::Invalid => "invalid",
        }
    }

    /// The class of a stored name; what is unknown reads as retryable.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        [
            Self::Timeout,
            Self::Panic,
            Self::Permanent,
            Self::Unavailable,
            Self::Waiting,
            Self::Invalid,
        ]
        .into_iter()
        .find(|class| class.as_str() == name)
        .unwrap_or(Self::Retryable)
    }
}

/// Why a run failed, fit to be stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobError {
    /// Stable and machine-readable: `smtp_550`, `timeout`.
    pub code: String,
    /// For people.
    pub message: String,
    /// What follows from it.
    pub class: ErrorClass,
}

impl JobError {
    /// An error whose texts are made storable: PostgreSQL refuses NUL in text, and a peer's
    /// answer may be of any length.
    #[must_use]
    pub fn new(class: ErrorClass, code: &str, message: &str) -> Self {
        Self {
            code: storable(code, MAX_CODE),
            message: storable(message, MAX_MESSAGE),
            class,
        }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

pub(super) fn storable(text: &str, max: usize) -> String {
    let mut kept: String = text.replace('\0', "\u{fffd}");
    if kept.len() > max {
        let end = kept.floor_char_boundary(max);
        kept.truncate(end);
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_made_storable() {
        let error = JobError::new(ErrorClass::Permanent, "x", "a\0b");
        assert_eq!(error.message, "a\u{fffd}b");
        let long = JobError::new(ErrorClass::Retryable, "x", &"é".repeat(5000));
        assert!(long.message.len() <= MAX_MESSAGE + '…'.len_utf8());
    }

    #[test]
    fn class_names_round_trip() {
        for class in [
            ErrorClass::Retryable,
            ErrorClass::Timeout,
            ErrorClass::Panic,
            ErrorClass::Permanent,
            ErrorClass::Unavailable,
            ErrorClass::Waiting,
            ErrorClass::Invalid,
        ] {
            assert_eq!(ErrorClass::from_name(class.as_str()), class);
        }
    }
}
