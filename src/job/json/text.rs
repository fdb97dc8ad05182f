//! Strings.

/// Reads a string that begins with its quotation mark; how long it was, with both marks. An
/// error says how far it reached.
pub(super) fn read(text: &str) -> Result<(String, usize), (usize, &'static str)> {
    let mut read = String::new();
    let mut at = 1;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let plain = rest
            .find(|c: char| matches!(c, '"' | '\\' | '\0'..='\u{1f}'))
            .ok_or((text.len(), "expected the end of a string"))?;
        read.push_str(&rest[..plain]);
        at += plain;
        match rest.as_bytes().get(plain) {
            Some(b'"') => return Ok((read, at + 1)),
            Some(b'\\') => {
                let (character, length) =
                    escape(&rest.as_bytes()[plain..]).map_err(|message| (at, message))?;
                read.push(character);
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
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(br#"\""#),
            '\\' => out.extend_from_slice(br"\\"),
            '\0'..='\u{1f}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}
