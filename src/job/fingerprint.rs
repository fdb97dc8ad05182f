use sha2::{Digest, Sha256};

/// Longest shape, in characters: what tells two errors apart comes early.
const MAX_SHAPE: usize = 200;
/// A word of this many hexadecimal digits or more is an id, if a digit is among them.
const HEX_WORD: usize = 8;

/// What stands for a part of a message that differs from job to job.
const NUMBER: &str = "<n>";
const ID: &str = "<id>";
const QUOTED: &str = "<text>";
const ADDRESS: &str = "<address>";

/// Tells dead letters of one cause from those of another: equal for the same kind, code and
/// shape of message. 16 hexadecimal digits.
#[must_use]
pub fn fingerprint(kind: &str, code: &str, message: &str) -> String {
    let mut digest = Sha256::new();
    // Neither a kind nor a shape holds a line feed, so the three parts cannot run together.
    for part in [kind, "\n", code, "\n", &shape(message)] {
        digest.update(part.as_bytes());
    }
    let digest = digest.finalize();
    digest.iter().take(8).fold(String::new(), |mut hex, byte| {
        hex.push_str(&format!("{byte:02x}"));
        hex
    })
}

/// A message without what differs from job to job: numbers, ids, hexadecimal words, quoted
/// text, addresses and URLs are masked, runs of white space are one space.
#[must_use]
pub fn shape(message: &str) -> String {
    let mut shaped = String::new();
    let mut rest = message.trim();
    while let Some(first) = rest.chars().next() {
        let (mask, length) = next(rest, first);
        match mask {
            Some(mask) => shaped.push_str(mask),
            None => shaped.push_str(&rest[..length]),
        }
        rest = &rest[length..];
        if first.is_whitespace() {
            rest = rest.trim_start();
        }
    }
    shaped.chars().take(MAX_SHAPE).collect()
}

/// The mask for what the text begins with, if it is to be masked, and its length in bytes. A
/// blank is its own mask, whichever it was.
fn next(text: &str, first: char) -> (Option<&'static str>, usize) {
    if first.is_whitespace() || first.is_control() {
        return (Some(" "), first.len_utf8());
    }
    if let Some(length) = quoted(text, first) {
        return (Some(QUOTED), length);
    }
    let mut length = text.find(ends_word).unwrap_or(text.len());
    if text[..length].contains("://") {
        length = text.find(ends_url).unwrap_or(text.len());
    }
    if length == 0 {
        return (None, first.len_utf8());
    }
    let word = text[..length].trim_end_matches(['.', ':', ',', '-']);
    if word.is_empty() {
        return (None, length);
    }
    match mask(word) {
        Some(mask) => (Some(mask), word.len()),
        None => parts(word),
    }
}

/// What may be inside a word: addresses, ids and times are one word.
fn ends_word(c: char) -> bool {
    !(c.is_alphanumeric()
        || matches!(
            c,
            '@' | '.' | '-' | '_' | ':' | '/' | '+' | '%' | '?' | '&' | '~'
        ))
}

/// A query holds what no word does: `?a=1`.
fn ends_url(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '"' | '\'' | '`' | '<' | '>' | '(' | ')' | '[' | ']' | ','
        )
}

/// The length of a quotation at the start, with its quotes. An apostrophe inside a word is
/// none: it never comes first in one.
fn quoted(text: &str, first: char) -> Option<usize> {
    let close = match first {
        '"' | '\'' | '`' => first,
        '“' => '”',
        '‘' => '’',
        '«' => '»',
        _ => return None,
    };
    let inside = &text[first.len_utf8()..];
    let end = inside.find(close)?;
    Some(first.len_utf8() + end + close.len_utf8())
}

fn mask(word: &str) -> Option<&'static str> {
    let is_address = word.contains("://")
        || word
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && host.contains('.'))
        || is_ip(word);
    if is_address {
        Some(ADDRESS)
    } else if is_id(word) {
        Some(ID)
    } else {
        None
    }
}

fn is_ip(word: &str) -> bool {
    let host = word.rsplit_once(':').map_or(word, |(host, _)| host);
    host.parse::<std::net::Ipv4Addr>().is_ok()
        || (word.matches(':').count() > 1 && word.parse::<std::net::Ipv6Addr>().is_ok())
}

/// A UUID, or a long run of hexadecimal digits.
fn is_id(word: &str) -> bool {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    let hex = digits.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let long = digits.chars().filter(char::is_ascii_hexdigit).count() >= HEX_WORD;
    let mixed =
        digits.chars().any(|c| c.is_ascii_digit()) && digits.chars().any(char::is_alphabetic);
    hex && mixed && (long || word.len() > digits.len())
}

/// A word that is nothing as a whole, up to the end of its first run of digits or of others.
fn parts(word: &str) -> (Option<&'static str>, usize) {
    let is_digit = |c: char| c.is_ascii_digit();
    if word.starts_with(is_digit) {
        let length = word.find(|c: char| !is_digit(c)).unwrap_or(word.len());
        return (Some(NUMBER), length);
    }
    (None, word.find(is_digit).unwrap_or(word.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_differs_is_masked() {
        let table = [
            ("connection refused", "connection refused"),
            ("order 17 not found", "order <n> not found"),
            ("order #17, line 3", "order #<n>, line <n>"),
            ("took 12.5s of 30s", "took <n>.<n>s of <n>s"),
            (
                "550 5.1.1 <bob@example.org>: unknown",
                "<n> <n>.<n>.<n> <<address>>: unknown",
            ),
            ("no user bob@example.org.", "no user <address>."),
            (
                "job 01890a5d-ac96-774b-bcce-b302099a8057 is gone",
                "job <id> is gone",
            ),
            ("etag deadbeef01 at 0x7ffe", "etag <id> at <id>"),
            ("unknown sku \"A-1\"", "unknown sku <text>"),
            ("unknown sku 'A 2' here", "unknown sku <text> here"),
            ("unknown kind `a.b`", "unknown kind <text>"),
            ("can't open it", "can't open it"),
            ("tcp 10.0.0.1:5432: refused", "tcp <address>: refused"),
            ("no route to fe80::1", "no route to <address>"),
            ("GET https://x.test/a?b=1 failed", "GET <address> failed"),
            ("a\n  b\tc", "a b c"),
            ("decade facade", "decade facade"),
            ("item_12 of v2", "item_<n> of v<n>"),
            ("2026-03-01T10:00:00Z", "<n>-<n>-<n>T<n>:<n>:<n>Z"),
            ("", ""),
        ];
        for (message, expected) in table {
            assert_eq!(shape(message), expected, "{message}");
        }
    }

    #[test]
    fn kind_code_and_shape_make_the_fingerprint() {
        let one = fingerprint("email.send", "smtp_550", "no user 17");
        assert_eq!(one.len(), 16);
        assert_eq!(one, fingerprint("email.send", "smtp_550", "no user 4711"));
        for other in [
            fingerprint("email.sent", "smtp_550", "no user 17"),
            fingerprint("email.send", "smtp_551", "no user 17"),
            fingerprint("email.send", "smtp_550", "no mailbox 17"),
        ] {
            assert_ne!(one, other);
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_shape(message in "\\PC*", number in 0u64..u64::MAX) {
            prop_assert!(shape(&message).chars().count() <= MAX_SHAPE);
            let with = |n: u64| shape(&format!("row {n} refused"));
            prop_assert_eq!(with(number), "row <n> refused");
        }
    }
}
