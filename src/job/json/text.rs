//! Strings.

use std::borrow::Cow;

/// What is not written as it is. All of them are ASCII, so a text may be cut there.
fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..=0x1f)
}

/// Reads a string that begins with its quotation mark; how long it was, with both marks. An
/// error says how far it reached.
pub(super) fn read(text: &str) -> Result<(Cow<'_, str>, usize), (usize, &'static str)> {
    let mut read = Cow::Borrowed("");
    let mut at = 1;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let plain = rest
            .bytes()
            .position(is_special)
            .ok_or((text.len(), "expected the end of a string"))?;
        // Stays borrowed where there is but one piece.
        read += &rest[..plain];
        at += plain;
        match rest.as_bytes().get(plain) {
            Some(b'"') => return Ok((read, at + 1)),
            Some(b'\\') => {
                let (character, length) =
                    escape(&rest.as_bytes()[plain..]).map_err(|message| (at, message))?;
                read.to_mut().push(character);
                at += length;
            }
            _ => return Err((at, "a control character in a string must be escaped")),
        }
    }
}

/// Reads an escape that begins with its backslash, and says how long it was.
fn escape(bytes: &[u8]) -> Result<(char, usize), &'static str> {
    let plain = match bytes.get(1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode(bytes),
        _ => return Err("no such escape in a string"),
    };
    Ok((plain, 2))
}

fn unicode(bytes: &[u8]) -> Result<(char, usize), &'static str> {
    let lone = "half of a surrogate pair is no character";
    let first = unit(bytes)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    let low = bytes.get(6..).unwrap_or_default();
    if !low.starts_with(br"\u") {
        return Err(lone);
    }
    let units = [first, unit(low)?].map(|unit| u16::try_from(unit).unwrap_or_default());
    match char::decode_utf16(units).next() {
        Some(Ok(character)) => Ok((character, 12)),
        _ => Err(lone),
    }
}

/// The code unit of `\uXXXX`.
fn unit(bytes: &[u8]) -> Result<u32, &'static str> {
    let digits = bytes.get(2..6).unwrap_or_default();
    let text = std::str::from_utf8(digits).unwrap_or_default();
    if digits.len() == 4 && digits.iter().all(u8::is_ascii_hexdigit) {
        return u32::from_str_radix(text, 16).map_err(|_| "`\\u` needs four hexadecimal digits");
    }
    Err("`\\u` needs four hexadecimal digits")
}

/// Writes a string with the fewest escapes.
pub(super) fn write(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().copied().position(is_special) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        match special.first() {
            Some(b'"') => out.extend_from_slice(br#"\""#),
            Some(b'\\') => out.extend_from_slice(br"\\"),
            Some(control) => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
            None => {}
        }
        rest = special.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
