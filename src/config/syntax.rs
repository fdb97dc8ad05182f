use super::duration;
use super::error::{ConfigError, Problem};
use super::section::Report;

/// Enters what the TOML parser found wrong. Returns false when the structure of the document
/// is in doubt, so that going on to its content would only report consequences.
///
/// Of each line only the first error counts: the parser recovers as well as it can, and the
/// rest of a line mostly stumbles over the same thing. Of two at one place the later counts: the
/// parser reports tokens, an unclosed string, after the structure that they broke.
pub(super) fn report(report: &mut Report<'_>, errors: &[toml::de::Error]) -> bool {
    let mut intact = true;
    let mut found = Report {
        origin: report.origin,
        text: report.text,
        errors: Vec::new(),
    };
    for error in errors.iter().rev() {
        let span = error.span().unwrap_or_default();
        let token = report.text.get(span.clone()).unwrap_or_default();
        let (local, problem) = explain(error.message(), token);
        intact &= local;
        let key = if local {
            key_at(report.text, span.start)
        } else {
            String::new()
        };
        found.add(span.start, &key, problem);
    }
    found.errors.sort_by_key(|error| error.position);
    found.errors.dedup_by_key(|error| line(error));
    report.errors.append(&mut found.errors);
    intact
}

fn line(error: &ConfigError) -> Option<usize> {
    error.position.map(|position| position.line)
}

/// What the parser says in our words, and whether the rest of the document still means what
/// it says. The texts are those of the `toml` crate, version 1; one that it words differently
/// is still reported, as it comes.
fn explain(message: &str, token: &str) -> (bool, Problem) {
    if message.starts_with("duplicate key") {
        let problem = Problem::new("is here for the second time", "keep one of the two");
        return (true, problem);
    }
    if !message.starts_with("string values must be quoted") {
        let fix = "correct this line; the format is TOML, https://toml.io";
        return (false, Problem::new(message, fix));
    }
    let problem = match token {
        "" => Problem::new(
            "has no value",
            "write a value after the `=`, or remove the key",
        ),
        _ if duration::parse(token).is_ok() => Problem::new(
            format!("`{token}` is not in quotes"),
            format!("durations are text: write \"{token}\""),
        ),
        _ => Problem::new(
            format!("`{token}` is not in quotes"),
            format!("text stands in quotes: write \"{token}\""),
        ),
    };
    (true, problem)
}

/// The path of the key in whose line an offset is: the table header above, and the key. Read
/// from the text, because the parser does not tell where it was.
fn key_at(text: &str, offset: usize) -> String {
    let start = text
        .get(..offset)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |newline| newline + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    if let Some(header) = header(line) {
        return header.to_owned();
    }
    let name = line.split('=').next().unwrap_or_default().trim();
    match text[..start].lines().rev().find_map(header) {
        Some(header) => format!("{header}.{name}"),
        None => name.to_owned(),
    }
}

fn header(line: &str) -> Option<&str> {
    let inner = line.trim().strip_prefix('[')?;
    let end = inner.find(']')?;
    Some(inner[..end].trim_start_matches('[').trim())
}
