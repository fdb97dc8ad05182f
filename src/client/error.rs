use std::time::Duration;

use serde::Deserialize;

/// Why a call did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL of the intake is not one.
    #[error("the URL of the intake: {0}")]
    Url(String),
    /// The key would go over the network unencrypted.
    #[error(
        "the API key would be sent unencrypted to {0}: use https://, or allow it for a network in which nobody listens"
    )]
    PlainHttp(String),
    /// The payload cannot be written as JSON.
    #[error("the payload cannot be written as JSON: {0}")]
    Payload(#[source] serde_json::Error),
    /// The intake refused, and would refuse again.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// What came back is not an answer of the intake's.
    #[error("{url} gave no answer of an intake: {why}")]
    Foreign {
        /// Who was asked.
        url: String,
        /// What came back.
        why: String,
    },
    /// The server's certificate is not trusted, or TLS cannot be spoken with it.
    #[error("{url}: no trusted connection: {why}")]
    Tls {
        /// Who was asked.
        url: String,
        /// Why not.
        why: String,
    },
    /// Every try failed until the deadline. A submission may have been accepted all the same:
    /// with the same idempotency key it can be sent again.
    #[error("gave up after {tries} tries in {took:.1?}: {last}")]
    GaveUp {
        /// How often it was tried.
        tries: u32,
        /// For how long.
        took: Duration,
        /// What the last try met.
        last: String,
        /// The refusal, if the last try met one.
        problem: Option<Box<Problem>>,
    },
}

impl ClientError {
    /// The problem's stable code, if the intake answered with one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.problem().map(|problem| problem.code.as_str())
    }

    /// What the intake answered, if it did.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::GaveUp { problem, .. } => problem.as_deref(),
            _ => None,
        }
    }
}

/// An error answer of the intake: problem details (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{detail} ({code})")]
#[non_exhaustive]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// Stable and machine-readable; `/openapi.json` lists them.
    pub code: String,
    /// The same for every occurrence.
    #[serde(default)]
    pub title: String,
    /// What is wrong and what to do.
    #[serde(default)]
    pub detail: String,
    /// The fields that are wrong, if any are.
    #[serde(default)]
    pub errors: Vec<WrongField>,
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct WrongField {
    /// Stable and machine-readable: `invalid`, `unknown_kind`; empty from an older intake.
    #[serde(default)]
    pub code: String,
    /// JSON pointer (RFC 6901) into what was sent; empty for a parameter.
    #[serde(default)]
    pub pointer: String,
    /// What is wrong, and what was expected.
    pub message: String,
}
