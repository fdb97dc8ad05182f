use std::fmt;

/// A place in a text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl Position {
    /// Where a byte offset of `text` is; an offset beyond the end is the end.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let offset = text.floor_char_boundary(offset);
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// Something that is wrong in a queue file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct ConfigError {
    /// The file, as it was named.
    pub origin: String,
    /// Where in it; none if the file as a whole is meant.
    pub position: Option<Position>,
    /// The key's path, `queues.email.retry.initial`; empty where there is no key.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", printable(&self.key))?;
        }
        write!(f, "{} — {}", printable(&self.message), printable(&self.fix))
    }
}

/// Something that is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct SettingError {
    /// The environment variable, `DATABASE_URL`, also where a flag was used.
    pub key: String,
    /// What is wrong. Never holds the value of a secret.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

impl SettingError {
    /// An error that names the variable, what is wrong with it and what to do. Never pass the
    /// value of a secret.
    #[must_use]
    pub fn new(key: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
            fix: fix.into(),
        }
    }

    pub(super) fn of(key: &str, problem: Problem) -> Self {
        Self::new(key, problem.message, problem.fix)
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (message, fix) = (printable(&self.message), printable(&self.fix));
        write!(f, "{}: {message} — {fix}", self.key)
    }
}

/// What is wrong with a value, before it is known whose value it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) fix: String,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            fix: fix.into(),
        }
    }
}

/// A checked value.
pub(super) type Checked<T> = Result<T, Problem>;

/// Values are quoted in messages, and messages go to terminals: no control characters.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "a\nté x\n";
        let at = |offset| {
            let Position { line, column } = Position::of(text, offset);
            (line, column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(1), (1, 2));
        assert_eq!(at(2), (2, 1));
        assert_eq!(at(4), (2, 2), "inside a character");
        assert_eq!(at(6), (2, 4));
        assert_eq!(at(8), (3, 1));
        assert_eq!(at(99), (3, 1));
    }

    #[test]
    fn errors_carry_no_control_characters_to_the_terminal() {
        let error = SettingError::new("K", "`\u{1b}[2J\n` is odd", "none");
        assert_eq!(error.to_string(), "K: `\\u{1b}[2J\\n` is odd — none");
    }
}
