//! Mails that are written once, in files, and filled in for each job.
//!
//! `MAIL_TEMPLATES` names a folder. The template `receipt` is what is there of `receipt.subject`,
//! `receipt.txt` and `receipt.html`; a body must be. Files that begin with `_` are for the others
//! to include or extend. The language is Jinja's. What the `.html` part prints is escaped, in every
//! file that it includes or extends, whatever its ending; what the others print never is.

mod data;
mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::io;

use longshore::config::{SettingError, WorkerSettings};
use longshore::worker::Invalid;
use minijinja::{Environment, Error, ErrorKind};

use data::Data;

/// Steps that one file may take for one mail: about 20 ms. A receipt of 500 items takes 10,000.
const FUEL: u64 = 500_000;
/// Steps that each further look for what else is missing may take: all of them together no more
/// than one file.
const FUEL_AGAIN: u64 = FUEL / MAX_MISSING as u64;
/// What one file may print, in bytes.
const MAX_PRINTED: usize = 1024 * 1024;
/// What is told of what is missing.
const MAX_MISSING: usize = 20;

/// Every template that this process knows.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    engines: Option<Engines>,
    /// By name, what there is of each.
    parts: BTreeMap<String, BTreeSet<Part>>,
}

/// The same files twice.
#[derive(Debug)]
struct Engines {
    /// Escapes everything, for the `.html` parts.
    html: Environment<'static>,
    /// Escapes nothing, for the others.
    plain: Environment<'static>,
}

impl Engines {
    const fn of(&self, part: Part) -> &Environment<'static> {
        match part {
            Part::Html => &self.html,
            Part::Subject | Part::Text => &self.plain,
        }
    }
}

/// A file of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Subject,
    Text,
    Html,
}

impl Part {
    const ALL: [Self; 3] = [Self::Subject, Self::Text, Self::Html];

    const fn ending(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Text => "txt",
            Self::Html => "html",
        }
    }
}

/// What a template made of a payload's `data`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) subject: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) html: Option<String>,
}

type Fields = serde_json::Map<String, serde_json::Value>;

impl Templates {
    /// Those of the folder that `MAIL_TEMPLATES` names; none if it is not set.
    ///
    /// # Errors
    /// Everything that is wrong with them, by file and line.
    pub(crate) fn from_settings(settings: &WorkerSettings) -> Result<Self, Vec<SettingError>> {
        let Some(path) = &settings.mail_templates else {
            return Ok(Self::default());
        };
        Self::load(path).map_err(|wrong| {
            let error = |(message, fix)| SettingError::new("MAIL_TEMPLATES", message, fix);
            wrong.into_iter().map(error).collect()
        })
    }

    /// True if there is a template of this name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.parts.contains_key(name)
    }

    /// What this template makes of this data.
    ///
    /// # Errors
    /// `/template` if it is unknown or broken; else everything that it needs and `data` lacks, or
    /// what it cannot print.
    pub(crate) fn render(&self, name: &str, data: &Fields) -> Result<Rendered, Vec<Invalid>> {
        let (Some(engines), Some(parts)) = (&self.engines, self.parts.get(name)) else {
            return Err(vec![Invalid::new("/template", self.unknown(name))]);
        };
        let globals = engines.plain.globals().map(|(name, _)| name.to_owned());
        let data = Data::new(data, globals.collect());
        let (mut rendered, mut wrong) = (Rendered::default(), Vec::new());
        for part in parts {
            if wrong.len() >= MAX_MISSING {
                break;
            }
            let file = format!("{name}.{}", part.ending());
            match print(engines.of(*part), &file, &data, MAX_MISSING - wrong.len()) {
                Ok(text) => *rendered.part(*part) = Some(text),
                Err(found) => wrong.extend(found),
            }
        }
        rendered.subject = rendered.subject.map(|subject| subject.trim().to_owned());
        if wrong.is_empty() {
            Ok(rendered)
        } else {
            Err(wrong)
        }
    }

    fn unknown(&self, name: &str) -> String {
        if self.engines.is_none() {
            return "there are no templates here: MAIL_TEMPLATES is not set".to_owned();
        }
        let known: Vec<&str> = self.parts.keys().map(String::as_str).collect();
        match longshore::config::closest(name, &known) {
            Some(near) => format!("no template `{name}`; did you mean `{near}`?"),
            None => format!("no template `{name}`; there are: {}", known.join(", ")),
        }
    }
}

impl Rendered {
    fn part(&mut self, part: Part) -> &mut Option<String> {
        match part {
            Part::Subject => &mut self.subject,
            Part::Text => &mut self.text,
            Part::Html => &mut self.html,
        }
    }
}

/// What a file prints; or what it misses, at most `room` of it, by standing in for each and trying
/// again.
fn print(
    engine: &Environment<'_>,
    file: &str,
    data: &Data,
    room: usize,
) -> Result<String, Vec<Invalid>> {
    let mut missing = Vec::new();
    let mut again = None;
    loop {
        let error = match attempt(again.as_ref().unwrap_or(engine), file, data) {
            Ok(text) if missing.is_empty() => return Ok(text),
            Ok(_) => return Err(missing),
            Err(error) => error,
        };
        let cause = cause(&error);
        let undefined = cause.kind() == ErrorKind::UndefinedError;
        match data.last().filter(|_| undefined) {
            Some(pointer) if missing.len() < room && data.stand_in_for(&pointer) => {
                let message = format!("{} needs it", place(cause, file));
                missing.push(Invalid::new(pointer, message));
                again.get_or_insert_with(|| {
                    let mut thrifty = engine.clone();
                    thrifty.set_fuel(Some(FUEL_AGAIN));
                    thrifty
                });
            }
            // What comes after a stand-in may come of it.
            _ if !missing.is_empty() => return Err(missing),
            _ => return Err(vec![broken(cause, file)]),
        }
    }
}

fn attempt(engine: &Environment<'_>, file: &str, data: &Data) -> Result<String, Error> {
    let mut printed = Bounded(Vec::new());
    let template = engine.get_template(file)?;
    template.render_captured_to(data.context(), &mut printed)?;
    String::from_utf8(printed.0)
        .map_err(|error| Error::new(ErrorKind::WriteFailure, error.to_string()))
}

/// The error at the bottom: those of included files are wrapped.
fn cause(error: &Error) -> &Error {
    let mut cause = error;
    while let Some(below) = cause.source().and_then(|source| source.downcast_ref()) {
        cause = below;
    }
    cause
}

fn place(error: &Error, file: &str) -> String {
    let file = error.name().unwrap_or(file);
    match error.line() {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    }
}

/// What no other data could mend is the template's own fault.
fn broken(error: &Error, file: &str) -> Invalid {
    let place = place(error, file);
    let (pointer, what) = match error.kind() {
        ErrorKind::OutOfFuel => ("/data", "takes too many steps".to_owned()),
        ErrorKind::WriteFailure => ("/data", format!("prints more than {MAX_PRINTED} bytes")),
        ErrorKind::UnknownFilter
        | ErrorKind::UnknownFunction
        | ErrorKind::UnknownTest
        | ErrorKind::UnknownMethod
        | ErrorKind::UnknownBlock
        | ErrorKind::TemplateNotFound
        | ErrorKind::BadInclude
        | ErrorKind::SyntaxError
        | ErrorKind::MissingArgument
        | ErrorKind::TooManyArguments => ("/template", text(error)),
        _ => ("/data", text(error)),
    };
    Invalid::new(pointer, format!("{place}: {what}"))
}

fn text(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// Takes so much and no more.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_PRINTED {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
