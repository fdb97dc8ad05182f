use std::fmt::Display;
use std::process::ExitCode;

use super::Output;
use crate::config::{ConfigError, SettingError};
use crate::intake::{GateError, ServeError};
use crate::node::NodeError;
use crate::store::StoreError;

/// Why a command ended badly, and with which exit code: 1 failed, 2 wrong usage or settings.
#[derive(Debug)]
pub(super) struct CliError {
    code: u8,
    lines: Vec<String>,
}

impl CliError {
    /// Wrong usage or settings.
    pub(super) fn usage(line: impl Into<String>) -> Self {
        Self {
            code: 2,
            lines: vec![line.into()],
        }
    }

    /// Everything that is wrong with the settings.
    pub(super) fn wrong<E: Display>(errors: &[E]) -> Self {
        Self {
            code: 2,
            lines: errors.iter().map(ToString::to_string).collect(),
        }
    }

    /// It was asked rightly and did not work, with the causes.
    pub(super) fn failed(error: impl Into<anyhow::Error>) -> Self {
        let error: anyhow::Error = error.into();
        Self {
            code: 1,
            lines: vec![format!("{error:#}")],
        }
    }

    /// As [`CliError::failed`], from a text.
    pub(super) fn message(line: impl Into<String>) -> Self {
        Self {
            code: 1,
            lines: vec![line.into()],
        }
    }

    /// It failed and everything has been said.
    pub(super) const fn silent() -> Self {
        Self {
            code: 1,
            lines: Vec::new(),
        }
    }

    /// This and what else is wrong.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.code = self.code.max(other.code);
        self.lines.extend(other.lines);
        self
    }

    /// All that is wrong, on one line.
    pub(super) fn text(&self) -> String {
        self.lines.join("; ")
    }

    pub(super) fn report(self, out: Output) -> ExitCode {
        for line in self.lines {
            out.error(&line);
        }
        ExitCode::from(self.code)
    }
}

impl From<Vec<SettingError>> for CliError {
    fn from(errors: Vec<SettingError>) -> Self {
        Self::wrong(&errors)
    }
}

impl From<Vec<ConfigError>> for CliError {
    fn from(errors: Vec<ConfigError>) -> Self {
        Self::wrong(&errors)
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Schema(_) if error.is_refusal() => {
                Self::usage(format!("{error} — {}", error.fix()))
            }
            StoreError::Schema(text) | StoreError::Url(text) => Self::usage(text),
            error @ (StoreError::Unavailable(_) | StoreError::Full(_)) => {
                Self::message(format!("{error} — {}", error.fix()))
            }
            error @ StoreError::File { .. } => Self::usage(format!(
                "{error} — choose another folder with LONGSHORE_DATA_DIR, or another file with \
                 DATABASE_URL"
            )),
            error => Self::failed(error),
        }
    }
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        Self::usage(format!(
            "{error}: choose another address with LONGSHORE_LISTEN or LONGSHORE_HEALTH_LISTEN"
        ))
    }
}

impl From<NodeError> for CliError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Schema(advice) => Self::usage(advice),
            NodeError::Broker(error) => Self::usage(error.to_string()),
            NodeError::Serve(error) => error.into(),
            NodeError::Gate(error @ GateError::NoKeys(_)) => Self::usage(error.to_string()),
            NodeError::Gate(GateError::Store(error)) | NodeError::Store(error) => error.into(),
            error => Self::message(error.to_string()),
        }
    }
}
