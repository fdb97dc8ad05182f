//! Header fields as they are written: no line beyond the limit (RFC 5322, section 2.1.1), and read
//! back as what was given.

use std::fmt::{self, Write as _};

use email_encoding::headers::writer::EmailWriter;
use email_encoding::headers::{quoted_string, rfc2047};
use lettre::message::Mailbox;
use lettre::message::header::{HeaderName, HeaderValue};

/// What the name of a field takes of its first line, beside the name.
const COLON: usize = ": ".len();

/// A field of mailboxes, each on a line of its own: an address cannot be folded, and a hundred
/// of them are no line.
pub(super) fn mailboxes(name: HeaderName, list: &[Mailbox]) -> Result<HeaderValue, fmt::Error> {
    let mut encoded = String::new();
    let mut writer = EmailWriter::new(&mut encoded, name.len() + COLON, 0, false);
    for (n, mailbox) in list.iter().enumerate() {
        if n > 0 {
            writer.write_char(',')?;
            writer.new_line()?;
            writer.space();
        }
        match &mailbox.name {
            Some(name) => {
                quoted_string::encode(name, &mut writer)?;
                writer.space();
                write!(writer.folding(), "<{}>", mailbox.email)?;
            }
            None => write!(writer, "{}", mailbox.email)?,
        }
    }
    drop(writer);
    let plain: Vec<String> = list.iter().map(ToString::to_string).collect();
    Ok(HeaderValue::dangerous_new_pre_encoded(
        name,
        plain.join(", "),
        encoded,
    ))
}

/// A field of text. What looks like an encoded word (RFC 2047) is encoded itself: it would be
/// read as what it stands for.
pub(super) fn text(name: HeaderName, value: &str) -> Result<HeaderValue, fmt::Error> {
    if !value.contains("=?") {
        return Ok(HeaderValue::new(name, value.to_owned()));
    }
    let mut encoded = String::new();
    let mut writer = EmailWriter::new(&mut encoded, name.len() + COLON, 0, false);
    rfc2047::encode(value, &mut writer)?;
    drop(writer);
    Ok(HeaderValue::dangerous_new_pre_encoded(
        name,
        value.to_owned(),
        encoded,
    ))
}
