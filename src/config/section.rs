use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration;
use super::error::{Checked, ConfigError, Position, Problem};
use super::suggest::{closest, listed};

/// What has been found wrong in a text so far.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) origin: &'a str,
    pub(super) text: &'a str,
    pub(super) errors: Vec<ConfigError>,
}

impl Report<'_> {
    /// Enters a problem of `key` at a byte offset of the text.
    pub(super) fn add(&mut self, offset: usize, key: &str, problem: Problem) {
        self.errors.push(ConfigError {
            origin: self.origin.to_owned(),
            position: Some(Position::of(self.text, offset)),
            key: key.to_owned(),
            message: problem.message,
            fix: problem.fix,
        });
    }
}

/// A table, with its path and its place in the text.
#[derive(Debug)]
pub(super) struct Section<'a, 'i> {
    pub(super) path: String,
    /// Byte offset of its name.
    pub(super) at: usize,
    pub(super) entries: &'a DeTable<'i>,
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry<'a, 'i> {
    pub(super) path: String,
    pub(super) name: &'a str,
    /// Byte offset of the key.
    pub(super) at: usize,
    pub(super) value: &'a Spanned<DeValue<'i>>,
}

impl<'a, 'i> Section<'a, 'i> {
    /// The whole document.
    pub(super) const fn root(entries: &'a DeTable<'i>) -> Self {
        Self {
            path: String::new(),
            at: 0,
            entries,
        }
    }

    /// Its entries, by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'a, 'i>> {
        self.entries.iter().map(|(key, value)| Entry {
            path: join(&self.path, key.get_ref()),
            name: key.get_ref(),
            at: key.span().start,
            value,
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<Entry<'a, 'i>> {
        let (key, value) = self.entries.get_key_value(name)?;
        Some(Entry {
            path: join(&self.path, name),
            name: key.get_ref(),
            at: key.span().start,
            value,
        })
    }

    /// The first of these keys that is written down, as a path and where its value is; else
    /// the section itself.
    pub(super) fn locate(&self, names: &[&str]) -> (String, usize) {
        names
            .iter()
            .find_map(|name| self.get(name))
            .map_or((self.path.clone(), self.at), |entry| {
                (entry.path, entry.value.span().start)
            })
    }

    /// Reports every key that is not `known`; `hint` may know where it belongs.
    pub(super) fn only(
        &self,
        report: &mut Report<'_>,
        known: &[&str],
        hint: impl Fn(&Entry<'_, '_>) -> Option<String>,
    ) {
        for entry in self.iter().filter(|entry| !known.contains(&entry.name)) {
            let fix = hint(&entry).unwrap_or_else(|| match closest(entry.name, known) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("remove it; known here: {}", listed(known)),
            });
            let problem = Problem::new("unknown key", fix);
            report.add(entry.at, &entry.path, problem);
        }
    }

    /// The value of a key, or `default` if it is not there; `None` once a problem is reported.
    pub(super) fn read<T>(
        &self,
        report: &mut Report<'_>,
        name: &str,
        default: T,
        check: impl FnOnce(&DeValue<'_>) -> Checked<T>,
    ) -> Option<T> {
        let Some(entry) = self.get(name) else {
            return Some(default);
        };
        check(entry.value.get_ref())
            .map_err(|problem| report.add(entry.value.span().start, &entry.path, problem))
            .ok()
    }
}

impl<'a, 'i> Entry<'a, 'i> {
    /// The table that this entry is; reports it if it is something else.
    pub(super) fn section(self, report: &mut Report<'_>) -> Option<Section<'a, 'i>> {
        match self.value.get_ref() {
            DeValue::Table(entries) => Some(Section {
                path: self.path,
                at: self.at,
                entries,
            }),
            DeValue::Array(_) => {
                let fix = format!("write [{}] in single brackets, once", self.path);
                let problem = Problem::new("must be a table, not an array", fix);
                report.add(self.at, &self.path, problem);
                None
            }
            other => {
                let problem = Problem::new(
                    format!("must be a table, not {}", a(other)),
                    format!("write [{}] and its settings below", self.path),
                );
                report.add(self.value.span().start, &self.path, problem);
                None
            }
        }
    }
}

/// Reads a whole number in a range.
pub(super) fn whole(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Checked<u32> {
    move |value| {
        let (low, high) = (range.start(), range.end());
        let fix = format!("write a whole number from {low} to {high}");
        let DeValue::Integer(number) = value else {
            return Err(wrong_type("a whole number", value, fix));
        };
        u32::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| Problem::new(format!("{} is out of range", written(number)), fix))
    }
}

/// Reads a number in a range; never infinite, never NaN.
pub(super) fn number(range: RangeInclusive<f64>) -> impl Fn(&DeValue<'_>) -> Checked<f64> {
    move |value| {
        let (low, high) = (range.start(), range.end());
        let fix = format!("write a number from {low:?} to {high:?}");
        let (shown, number) = match value {
            DeValue::Float(float) => (float.as_str().to_owned(), float.as_str().parse().ok()),
            DeValue::Integer(integer) => (
                written(integer),
                i32::from_str_radix(integer.as_str(), integer.radix())
                    .ok()
                    .map(f64::from),
            ),
            _ => return Err(wrong_type("a number", value, fix)),
        };
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| Problem::new(format!("{shown} is out of range"), fix))
    }
}

/// Reads a duration within limits, both included.
pub(super) fn lasting(min: Duration, max: Duration) -> impl Fn(&DeValue<'_>) -> Checked<Duration> {
    move |value| match value {
        DeValue::String(text) => duration::parse_within(text, min, max),
        DeValue::Integer(number) => Err(duration::without_unit(number.as_str())),
        DeValue::Float(number) => Err(duration::without_unit(number.as_str())),
        _ => {
            let fix = "write a duration in quotes, such as \"30s\"";
            Err(wrong_type("a duration", value, fix))
        }
    }
}

/// A value that is something else than it should be.
pub(super) fn wrong_type(expected: &str, value: &DeValue<'_>, fix: impl Into<String>) -> Problem {
    Problem::new(format!("must be {expected}, not {}", a(value)), fix)
}

/// A value's type with its article.
fn a(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(_) | DeValue::Array(_) => format!("an {}", value.type_str()),
        _ => format!("a {}", value.type_str()),
    }
}

fn written(number: &toml::de::DeInteger<'_>) -> String {
    match number.radix() {
        10 => number.as_str().to_owned(),
        radix => format!("{} (base {radix})", number.as_str()),
    }
}

/// `path.name`, the name quoted where TOML needs it.
fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let dot = if path.is_empty() { "" } else { "." };
    if bare {
        format!("{path}{dot}{name}")
    } else {
        format!("{path}{dot}\"{}\"", name.escape_debug())
    }
}
