use std::io::{BufRead, Read};

use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::submission::{MAX_ATTEMPTS, MAX_TAGS};
use crate::job::{AttemptView, JobError, JobId, JobView, Kind, Priority, QueueName, json};
use crate::store::NewLetter;

/// What a line is, so that a later form is told from this one.
const FORM: &str = "dead-letter/1";
/// Longest line in bytes: the largest payload that a message can bring, written as a JSON string.
const MAX_LINE: u64 = 64 * 1024 * 1024;
/// Failed runs that a letter may tell of.
const MAX_RUNS: usize = 100_000;

/// A dead letter as a line of a file. It holds all that is needed to bring it back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letter {
    longshore: String,
    id: JobId,
    kind: Kind,
    queue: QueueName,
    payload: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    original_payload: Option<Box<RawValue>>,
    priority: Priority,
    tags: Vec<String>,
    max_attempts: Option<u32>,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
    error: JobError,
    attempts: Vec<AttemptView>,
}

impl Letter {
    /// A dead job; `None` if it is none, or not any more.
    #[must_use]
    pub fn of(job: JobView) -> Option<Self> {
        Some(Self {
            longshore: FORM.to_owned(),
            error: job.error.filter(|_| job.state == crate::job::State::Dead)?,
            id: job.id,
            kind: job.kind,
            queue: job.queue,
            payload: job.payload,
            original_payload: job.original_payload,
            priority: job.priority,
            tags: job.tags,
            max_attempts: job.max_attempts,
            created_at: job.created_at,
            finished_at: job.finished_at,
            attempts: job.attempts.unwrap_or_default(),
        })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> JobId {
        self.id
    }

    /// Its queue.
    #[must_use]
    pub const fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(line: &[u8]) -> Result<Self, String> {
        // Each field once, which serde sees to. The payload is whatever JSON a message brought:
        // what no door would take is in a dead letter, and comes back as it was.
        let letter: Self =
            serde_json::from_slice(line).map_err(|error| unreadable(line, &error))?;
        letter.check()?;
        Ok(letter)
    }

    fn check(&self) -> Result<(), String> {
        if self.longshore != FORM {
            return Err(format!(
                "`longshore` is `{}`; this program reads `{FORM}`",
                self.longshore
            ));
        }
        // An id of tomorrow would lie where tomorrow's jobs are to be.
        let made = self.id.uuid().get_timestamp().map(|at| at.to_unix().0);
        let latest = u64::try_from(Utc::now().timestamp()).unwrap_or_default() + 300;
        if made.is_none_or(|made| made > latest) {
            return Err(format!("`id` is {}, which no job can have yet", self.id));
        }
        if self
            .max_attempts
            .is_some_and(|most| !(1..=MAX_ATTEMPTS).contains(&most))
        {
            return Err(format!("`max_attempts` must be from 1 to {MAX_ATTEMPTS}"));
        }
        let is_tag = |tag: &String| (1..=MAX_TAGS.1).contains(&tag.chars().count());
        if self.tags.len() > MAX_TAGS.0 || !self.tags.iter().all(is_tag) {
            return Err(format!(
                "`tags` must be at most {} texts of 1 to {} characters",
                MAX_TAGS.0, MAX_TAGS.1
            ));
        }
        if self.attempts.len() > MAX_RUNS {
            return Err(format!("`attempts` must be at most {MAX_RUNS}"));
        }
        let runs = self.attempts.iter();
        let times = runs.flat_map(|run| [run.started_at, Some(run.finished_at)]);
        let times = times.chain([Some(self.created_at)]).flatten();
        if !times
            .into_iter()
            .all(|at| (1970..10_000).contains(&at.year()))
        {
            return Err("a time must be from 1970 to 9999".to_owned());
        }
        let runs = self.attempts.iter();
        let texts = runs.filter_map(|run| run.worker.as_ref()).chain(&self.tags);
        if texts.into_iter().any(|text| text.contains('\0')) {
            return Err("a text holds NUL, which cannot be stored".to_owned());
        }
        Ok(())
    }

    /// As the store takes it.
    #[must_use]
    pub fn into_new(self) -> NewLetter {
        let bytes = |json: Box<RawValue>| String::from(Box::<str>::from(json)).into_bytes();
        let storable = |error: JobError| JobError::new(error.class, &error.code, &error.message);
        let attempt = |run: AttemptView| AttemptView {
            error: run.error.map(storable),
            ..run
        };
        NewLetter {
            id: self.id,
            kind: self.kind,
            queue: self.queue,
            payload: bytes(self.payload),
            original_payload: self.original_payload.map(bytes),
            priority: self.priority,
            tags: self.tags,
            max_attempts: self.max_attempts,
            created_at: self.created_at,
            error: storable(self.error),
            attempts: self.attempts.into_iter().map(attempt).collect(),
        }
    }
}

/// Where it is no JSON, by line and column.
fn unreadable(line: &[u8], error: &serde_json::Error) -> String {
    match json::canonical(line) {
        Err(flaw @ json::JsonFlaw::Syntax { .. }) if !error.is_data() => {
            super::Refusal::from(flaw).to_string()
        }
        _ => error.to_string(),
    }
}

/// The next line of a file that is not empty, with its number; `None` at the end. Nothing but one
/// line is in memory.
///
/// # Errors
/// The file's, and what is too long to be a letter.
pub fn next_line(
    file: &mut impl BufRead,
    number: &mut u64,
    line: &mut Vec<u8>,
) -> Result<bool, String> {
    loop {
        line.clear();
        let read = file.by_ref().take(MAX_LINE).read_until(b'\n', line);
        if read.map_err(|error| error.to_string())? == 0 {
            return Ok(false);
        }
        *number += 1;
        if line.len() as u64 == MAX_LINE && line.last() != Some(&b'\n') {
            return Err(format!("line {number} is longer than {MAX_LINE} bytes"));
        }
        if !line.trim_ascii().is_empty() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn letter() -> Value {
        json!({
            "longshore": "dead-letter/1", "id": "01890a5d-ac96-774b-bcce-b302099a8057",
            "kind": "email.send", "queue": "email", "payload": {"to": []}, "priority": "normal",
            "tags": ["a"], "max_attempts": null, "created_at": "2026-01-01T00:00:00Z",
            "finished_at": null, "attempts": [],
            "error": {"code": "x", "message": "y", "class": "permanent"},
        })
    }

    #[test]
    fn a_letter_reads_as_it_was_written() {
        let line = letter().to_string();
        let read = Letter::read(line.as_bytes()).unwrap();
        let again: Value = serde_json::to_value(&read).unwrap();
        assert_eq!(again, letter());
        assert_eq!(read.into_new().payload, br#"{"to":[]}"#);
    }

    #[test]
    fn what_is_no_letter_is_refused_by_name() {
        for (pointer, value, told) in [
            ("/longshore", json!("dead-letter/2"), "dead-letter/1"),
            ("/id", json!("7"), "UUID"),
            ("/id", json!("ffffffff-ffff-7fff-bfff-ffffffffffff"), "yet"),
            ("/kind", json!("no kind"), "kind"),
            ("/queue", json!(7), "a string"),
            ("/priority", json!("low"), "high"),
            ("/tags", json!([""]), "tags"),
            ("/tags", json!(["a\0"]), "NUL"),
            ("/max_attempts", json!(0), "max_attempts"),
            ("/created_at", json!("1026-01-01T00:00:00Z"), "1970"),
            ("/error", json!(null), "JobError"),
            ("/more", json!(1), "unknown field"),
        ] {
            let mut wrong = letter();
            match wrong.pointer_mut(pointer) {
                Some(field) => *field = value,
                None => wrong["more"] = value,
            }
            let error = Letter::read(wrong.to_string().as_bytes()).unwrap_err();
            assert!(error.contains(told), "{pointer}: {error}");
        }
        for line in ["{", "[]", "{\"id\": 1, \"id\": 2}"] {
            assert!(Letter::read(line.as_bytes()).is_err(), "{line}");
        }
        let twice = letter()
            .to_string()
            .replacen('{', "{\"kind\": \"email.send\", ", 1);
        let error = Letter::read(twice.as_bytes()).unwrap_err();
        assert!(error.contains("duplicate field `kind`"), "{error}");
    }

    /// What came as a message was looked at by no door.
    #[test]
    fn any_payload_comes_back_as_it_was() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        for payload in [r#"{"a":1,"a":2}"#, "1e999", r#""\ud800""#, &deep] {
            let line = letter().to_string().replacen(r#"{"to":[]}"#, payload, 1);
            let read = Letter::read(line.as_bytes()).unwrap();
            let again = serde_json::to_string(&read).unwrap();
            assert!(
                again.contains(&format!("\"payload\":{payload},")),
                "{again}"
            );
            assert_eq!(read.into_new().payload, payload.as_bytes());
        }
    }
}
