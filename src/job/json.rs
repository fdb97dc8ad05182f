//! JSON as it is taken from strangers: RFC 8259, and of what that leaves open only what every
//! reader understands the same way (I-JSON, RFC 7493): each member once, no half surrogates, no
//! number that has no value. Nesting is bounded. `\u0000` is a character like any other.

mod number;
mod text;

use std::borrow::Cow;
use std::ops::Range;

use number::Number;

/// How deep arrays and objects may be nested.
const MAX_DEPTH: usize = 64;
/// Flaws that are named in one answer.
const MAX_FLAWS: usize = 20;

/// Why a text is refused as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonFlaw {
    /// It is no JSON.
    Syntax {
        /// What was met, or expected.
        message: &'static str,
        /// 1-based.
        line: usize,
        /// 1-based, in characters.
        column: usize,
    },
    /// It is JSON that two readers may understand differently: JSON pointers (RFC 6901), and
    /// what is wrong there.
    Ambiguous(Vec<(String, &'static str)>),
}

/// The one way to write what a text says: no spaces, members sorted, strings with the fewest
/// escapes, numbers by their exact value (`1.0`, `1e0` and `1` are the same). Two texts say the
/// same exactly when these bytes are equal.
///
/// # Errors
/// Where the text is not JSON, or what in it is ambiguous.
pub fn canonical(text: &[u8]) -> Result<Vec<u8>, JsonFlaw> {
    scan(text, Some(Vec::with_capacity(text.len()))).map(Option::unwrap_or_default)
}

/// Whether a text has a canonical form.
///
/// # Errors
/// As [`canonical`].
pub fn check(text: &[u8]) -> Result<(), JsonFlaw> {
    scan(text, None).map(|_| ())
}

fn scan(text: &[u8], out: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, JsonFlaw> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let valid = std::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default();
        syntax(valid, valid.len(), "this is not UTF-8")
    })?;
    let mut scanner = Scanner {
        text,
        at: 0,
        path: Vec::new(),
        flaws: Vec::new(),
        out,
    };
    match scanner.whole() {
        Err(message) => Err(syntax(text, scanner.at, message)),
        Ok(()) if scanner.flaws.is_empty() => Ok(scanner.out),
        Ok(()) => Err(JsonFlaw::Ambiguous(scanner.flaws)),
    }
}

/// JSON on one line, otherwise as it is written: a line break in JSON is always one between two
/// tokens, which need none.
#[must_use]
pub fn one_line(text: String) -> String {
    match text.contains(['\n', '\r']) {
        true => text.replace(['\n', '\r'], ""),
        false => text,
    }
}

/// A step of a JSON pointer, escaped.
#[must_use]
pub fn pointer_step(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// What a JSON value is, for a message: `a string`.
#[must_use]
pub fn name_of(text: &str) -> &'static str {
    match text.trim_start().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn syntax(text: &str, at: usize, message: &'static str) -> JsonFlaw {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    JsonFlaw::Syntax {
        message,
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// Stops at the first error; `at` is then where it is.
type Step = Result<(), &'static str>;

enum Segment<'a> {
    Key(Cow<'a, str>),
    Index(usize),
}

/// A member's name, and where its value was written, counted from the beginning of its object's.
type Member<'a> = (Cow<'a, str>, Range<usize>);

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    path: Vec<Segment<'a>>,
    flaws: Vec<(String, &'static str)>,
    /// None where the text is only checked.
    out: Option<Vec<u8>>,
}

impl<'a> Scanner<'a> {
    fn whole(&mut self) -> Step {
        if self.text.starts_with('\u{feff}') {
            return Err("a byte order mark may not stand before JSON (RFC 8259, section 8.1)");
        }
        self.value()?;
        self.space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err("expected the end: one JSON value is complete here"),
        }
    }

    fn value(&mut self) -> Step {
        self.space();
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => {
                let text = self.string()?;
                if let Some(out) = &mut self.out {
                    text::write(&text, out);
                }
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(_) => Err("expected a JSON value"),
            None => Err("expected a JSON value, not the end"),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(out) = &mut self.out {
            out.extend_from_slice(bytes);
        }
    }

    fn written(&self) -> usize {
        self.out.as_ref().map_or(0, Vec::len)
    }

    fn descend(&self) -> Step {
        match self.path.len() {
            MAX_DEPTH => Err("nested too deeply: at most 64 levels"),
            _ => Ok(()),
        }
    }

    fn array(&mut self) -> Step {
        self.descend()?;
        self.path.push(Segment::Index(0));
        self.at += 1;
        self.write(b"[");
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                self.value()?;
                if self.closes(b']', "expected `,` or `]`")? {
                    break;
                }
                self.write(b",");
                if let Some(Segment::Index(index)) = self.path.last_mut() {
                    *index += 1;
                }
            }
        }
        self.write(b"]");
        self.path.pop();
        Ok(())
    }

    fn object(&mut self) -> Step {
        let from = self.written();
        let mut members = Vec::new();
        self.descend()?;
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                members.push(self.member(from)?);
                if self.closes(b'}', "expected `,` or `}`")? {
                    break;
                }
            }
        }
        self.sort(from, members);
        Ok(())
    }

    fn member(&mut self, from: usize) -> Result<Member<'a>, &'static str> {
        self.space();
        if self.peek() != Some(b'"') {
            return Err("expected a member's name, in double quotes");
        }
        let key = self.string()?;
        self.space();
        if self.peek() != Some(b':') {
            return Err("expected `:` after a member's name");
        }
        self.at += 1;
        self.path.push(Segment::Key(key));
        let start = self.written() - from;
        self.value()?;
        let end = self.written() - from;
        match self.path.pop() {
            Some(Segment::Key(key)) => Ok((key, start..end)),
            _ => Err("expected a member"),
        }
    }

    /// Writes an object's members again, in order.
    fn sort(&mut self, from: usize, mut members: Vec<Member<'a>>) {
        members.sort_by(|a, b| a.0.cmp(&b.0));
        for pair in members.windows(2) {
            if let [(first, _), (second, _)] = pair
                && first == second
            {
                let pointer = self.pointer() + &pointer_step(first);
                self.flaw(pointer, "given more than once in the same object");
            }
        }
        let Some(out) = &mut self.out else {
            return;
        };
        let values = out.split_off(from);
        out.push(b'{');
        for (n, (key, value)) in members.into_iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            text::write(&key, out);
            out.push(b':');
            out.extend_from_slice(values.get(value).unwrap_or_default());
        }
        out.push(b'}');
    }

    fn number(&mut self) -> Step {
        let number =
            Number::read(&self.text.as_bytes()[self.at..]).map_err(|(length, message)| {
                self.at += length;
                message
            })?;
        self.at += number.length;
        if !number.is_finite(&self.text[self.at - number.length..self.at]) {
            self.flaw(self.pointer(), "a number of this size has no value");
        }
        if let Some(out) = &mut self.out {
            number.write(out);
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Cow<'a, str>, &'static str> {
        let text = self.text;
        let (text, length) = text::read(&text[self.at..]).map_err(|(length, message)| {
            self.at += length;
            message
        })?;
        self.at += length;
        Ok(text)
    }

    fn word(&mut self, word: &'static str) -> Step {
        if !self.text[self.at..].starts_with(word) {
            return Err("expected a JSON value; words are `true`, `false` and `null`");
        }
        self.at += word.len();
        self.write(word.as_bytes());
        Ok(())
    }

    /// After an item: true at the end of the list, false after a comma.
    fn closes(&mut self, end: u8, message: &'static str) -> Result<bool, &'static str> {
        self.space();
        let found = self.peek();
        if found != Some(end) && found != Some(b',') {
            return Err(message);
        }
        self.at += 1;
        Ok(found == Some(end))
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn pointer(&self) -> String {
        let step = |segment: &Segment<'_>| match segment {
            Segment::Key(key) => pointer_step(key),
            Segment::Index(index) => format!("/{index}"),
        };
        self.path.iter().map(step).collect()
    }

    fn flaw(&mut self, pointer: String, message: &'static str) {
        if self.flaws.len() < MAX_FLAWS {
            self.flaws.push((pointer, message));
        }
    }
}

#[cfg(test)]
mod tests;
