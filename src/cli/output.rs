use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::job::json;

/// Where a command prints. A reader that goes away (`| head`) ends nothing badly: what it does
/// not read is not written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output;

impl Output {
    /// A line for people.
    pub(super) fn line(self, text: impl std::fmt::Display) {
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// An object for programs: one line of JSON.
    pub(super) fn json(self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            // A payload is kept as it was sent, on many lines perhaps.
            Ok(text) => self.line(json::one_line(text)),
            Err(error) => self.error(&format!("cannot be written as JSON: {error}")),
        }
    }

    /// A line on stderr, in the form of every error.
    pub(super) fn error(self, text: &str) {
        let _ = writeln!(std::io::stderr(), "error: {text}");
    }

    /// A line for people beside what a program reads: on stderr.
    pub(super) fn note(self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// True when a person is reading.
    pub(super) fn is_terminal(self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// True when a person is there to be asked.
    pub(super) fn is_interactive(self) -> bool {
        std::io::stdin().is_terminal() && self.is_terminal()
    }

    /// Asks for a yes on the terminal; where there is none, nobody is there to ask.
    pub(super) fn confirm(self, question: &str) -> bool {
        if !self.is_interactive() {
            return true;
        }
        let _ = write!(std::io::stderr(), "{question} [y/N] ");
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}
