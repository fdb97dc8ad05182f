use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::storable;

/// Longest message kept, in bytes.
const MAX_MESSAGE: usize = 500;

/// How far a run has come, as its handler says; fit to be stored and shown.
#[derive(Debug, Clone, PartialEq)]
pub struct RunProgress {
    /// From 0 to 1.
    pub fraction: f64,
    /// For people.
    pub message: String,
}

impl RunProgress {
    /// What lies outside of 0 to 1 becomes the nearer of them, what is no number 0; a long
    /// message is cut, and NUL, which PostgreSQL refuses, is replaced.
    #[must_use]
    pub fn new(fraction: f64, message: &str) -> Self {
        let number = if fraction.is_nan() { 0.0 } else { fraction };
        Self {
            fraction: number.clamp(0.0, 1.0),
            message: storable(message, MAX_MESSAGE),
        }
    }
}

/// How far the run that is under way has come, as its handler said last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressView {
    /// From 0 to 1.
    pub fraction: f64,
    /// For people.
    pub message: String,
    /// When that was written down, by the store's clock: within about a second of when it was
    /// said.
    pub at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_and_any_text_can_be_stored() {
        for (said, kept) in [
            (0.4, 0.4),
            (-0.1, 0.0),
            (1.5, 1.0),
            (f64::NAN, 0.0),
            (f64::INFINITY, 1.0),
            (f64::NEG_INFINITY, 0.0),
        ] {
            assert_eq!(RunProgress::new(said, "").fraction, kept, "{said}");
        }
        assert_eq!(RunProgress::new(0.0, "a\0b").message, "a\u{fffd}b");
        let long = RunProgress::new(0.0, &"é".repeat(5_000)).message;
        assert!(long.len() <= MAX_MESSAGE + '…'.len_utf8() && long.ends_with('…'));
    }
}
