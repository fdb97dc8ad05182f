use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
    escape_formatter,
};

use super::{Engines, FUEL, Part, Templates, place, text};

/// The most files, and the largest, in bytes.
const MAX_FILES: usize = 1000;
const MAX_FILE: u64 = 256 * 1024;

/// What is wrong, and what to do about it.
type Wrong = (String, String);

impl Templates {
    /// Reads and parses every file of a folder. Files whose names begin with a dot or end with
    /// `~` are an editor's.
    ///
    /// # Errors
    /// Everything that is wrong, by file and line, each with what to do about it.
    pub(crate) fn load(folder: &Path) -> Result<Self, Vec<Wrong>> {
        let mut engines = Engines {
            html: engine(AutoEscape::Html),
            plain: engine(AutoEscape::None),
        };
        let (mut parts, mut wrong) = (BTreeMap::new(), Vec::new());
        for name in names(folder).map_err(|error| vec![error])? {
            match read(folder, &name).and_then(|source| parse(&mut engines, &name, source)) {
                Ok(Some((template, part))) => {
                    let known: &mut std::collections::BTreeSet<_> =
                        parts.entry(template).or_default();
                    known.insert(part);
                }
                Ok(None) => {}
                Err(error) => wrong.push(error),
            }
        }
        for (template, parts) in &parts {
            if *parts == [Part::Subject].into() {
                let fix = format!("add {template}.txt, {template}.html or both");
                wrong.push((format!("{template}.subject has no body"), fix));
            }
        }
        if wrong.is_empty() {
            Ok(Self {
                engines: Some(engines),
                parts,
            })
        } else {
            Err(wrong)
        }
    }
}

/// One that escapes what it prints in this way, whatever the file is called: an included file is
/// part of what includes it.
fn engine(escaping: AutoEscape) -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    engine.set_auto_escape_callback(move |_| escaping.clone());
    engine.set_formatter(print_value);
    // A line that holds nothing but a tag prints nothing.
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    if let Ok(syntax) = syntax {
        engine.set_syntax(syntax);
    }
    engine
}

/// As the engine does, but for its own functions: their names are what nobody wants to read.
fn print_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    if value.kind() == ValueKind::Plain {
        let message = "prints a function; is a value of its name missing in the data?";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    escape_formatter(out, state, value)
}

fn names(folder: &Path) -> Result<Vec<String>, Wrong> {
    let unreadable = |error: io::Error| {
        let fix = "name a folder that this process may read".to_owned();
        (format!("{}: {error}", folder.display()), fix)
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with('.') && !name.ends_with('~') {
            names.push(name);
        }
        if names.len() > MAX_FILES {
            let fix = "is it the right folder?".to_owned();
            let message = format!("{}: more than {MAX_FILES} files", folder.display());
            return Err((message, fix));
        }
    }
    names.sort();
    Ok(names)
}

fn read(folder: &Path, name: &str) -> Result<String, Wrong> {
    let path = folder.join(name);
    let wrong = |what: String| (format!("{name}: {what}"), "correct or remove it".to_owned());
    let about = fs::metadata(&path).map_err(|error| wrong(error.to_string()))?;
    if !about.is_file() {
        return Err(wrong(
            "not a file; all templates lie in one folder".to_owned(),
        ));
    }
    if about.len() > MAX_FILE {
        return Err(wrong(format!("longer than {MAX_FILE} bytes")));
    }
    fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))
}

/// The template and the part of it that the file is; none if it is there for others.
fn parse(
    engines: &mut Engines,
    name: &str,
    source: String,
) -> Result<Option<(String, Part)>, Wrong> {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let part = Part::ALL.into_iter().find(|part| part.ending() == ending);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let Some(part) = part.filter(|_| !stem.is_empty() && stem.chars().all(plain)) else {
        let message = format!("{name}: no part of a template");
        let fix = "name it NAME.subject, NAME.txt or NAME.html, with letters, digits, `_` and `-` \
                   in NAME, or take it away";
        return Err((message, fix.to_owned()));
    };
    let Engines { html, plain } = engines;
    for (engine, source) in [(html, source.clone()), (plain, source)] {
        engine
            .add_template_owned(name.to_owned(), source)
            .map_err(|error| {
                let message = format!("{}: {}", place(&error, name), text(&error));
                (message, "correct the template".to_owned())
            })?;
    }
    Ok((!stem.starts_with('_')).then(|| (stem.to_owned(), part)))
}
