use std::collections::HashSet;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use lettre::message::header::ContentType;
use longshore::worker::Invalid;

use super::mailbox;
use super::payload::{Attachment, SendEmail};

/// Recipients of one mail: what every server must take (RFC 5321, section 4.5.3.1.8). Beyond it
/// a server may answer 452 for ever.
pub(crate) const MAX_RECIPIENTS: usize = 100;
/// Decoded attachments of one mail, in bytes: what fits into a payload of 1 MiB in base64.
pub(crate) const MAX_ATTACHED: usize = 700 * 1024;
/// A header line (RFC 5322, section 2.1.1), less room for its name, in bytes: a value without
/// spaces cannot be folded.
const MAX_WORD: usize = 900;
const MAX_VALUE: usize = 16 * 1024;
/// With a word of the greatest length they still fit on a line.
const MAX_SPACES: usize = 20;

/// Headers that belong to other fields, to this worker or to the servers on the way. Those that
/// begin with `Content-` or `Resent-` are refused too.
const RESERVED: [&str; 12] = [
    "bcc",
    "cc",
    "date",
    "from",
    "message-id",
    "mime-version",
    "received",
    "reply-to",
    "return-path",
    "sender",
    "subject",
    "to",
];

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl SendEmail {
    /// Checks what the type alone cannot say.
    ///
    /// # Errors
    /// Every field that is wrong, with its JSON pointer.
    pub(crate) fn check(&self) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        self.check_mailboxes(&mut wrong);
        self.check_words(&mut wrong);
        self.check_headers(&mut wrong);
        self.check_attachments(&mut wrong);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// What it says: in its own words, or in a template's ([`SendEmail::words`]).
    fn check_words(&self, wrong: &mut Vec<Invalid>) {
        let own = [("/text", &self.text), ("/html", &self.html)];
        match (&self.template, &self.subject) {
            (_, Some(subject)) => {
                if let Err(message) = check_header_value(subject) {
                    wrong.push(Invalid::new("/subject", message));
                }
            }
            (None, None) => wrong.push(Invalid::new("/subject", "missing")),
            (Some(_), None) => {}
        }
        if self.template.is_some() {
            let given = own.iter().filter(|(_, body)| body.is_some());
            let message = "a mail has a body of its own or a `template`, not both";
            wrong.extend(given.map(|(pointer, _)| Invalid::new(*pointer, message)));
            return;
        }
        if own.iter().all(|(_, body)| body.is_none()) {
            let message = "a mail needs a body: give `text`, `html` or both, or a `template`";
            wrong.push(Invalid::new("/text", message));
        }
        if self.data.is_some() {
            wrong.push(Invalid::new(
                "/data",
                "fills in a `template`; there is none",
            ));
        }
    }

    fn check_mailboxes(&self, wrong: &mut Vec<Invalid>) {
        for (field, list) in [("to", &self.to), ("cc", &self.cc), ("bcc", &self.bcc)] {
            for (index, text) in list.iter().enumerate() {
                check_mailbox(format!("/{field}/{index}"), text, wrong);
            }
        }
        for (field, text) in [("from", &self.from), ("reply_to", &self.reply_to)] {
            if let Some(text) = text {
                check_mailbox(format!("/{field}"), text, wrong);
            }
        }
        let recipients = self.to.len() + self.cc.len() + self.bcc.len();
        if recipients == 0 {
            wrong.push(Invalid::new(
                "/to",
                "a mail needs a recipient in `to`, `cc` or `bcc`",
            ));
        } else if recipients > MAX_RECIPIENTS {
            let message = format!(
                "{recipients} recipients in `to`, `cc` and `bcc`; at most {MAX_RECIPIENTS} fit in one mail: submit several"
            );
            wrong.push(Invalid::new("/to", message));
        }
    }

    fn check_headers(&self, wrong: &mut Vec<Invalid>) {
        let mut seen = HashSet::new();
        for (name, value) in &self.headers {
            let pointer = format!("/headers/{}", name.replace('~', "~0").replace('/', "~1"));
            if let Err(message) = check_header_name(name) {
                wrong.push(Invalid::new(pointer.as_str(), message));
            } else if !seen.insert(name.to_ascii_lowercase()) {
                wrong.push(Invalid::new(
                    pointer.as_str(),
                    "given twice: names differ only in case",
                ));
            }
            if let Err(message) = check_header_value(value) {
                wrong.push(Invalid::new(pointer, message));
            }
        }
    }

    fn check_attachments(&self, wrong: &mut Vec<Invalid>) {
        let mut total = 0;
        for (index, attachment) in self.attachments.iter().enumerate() {
            let at = |field| format!("/attachments/{index}/{field}");
            match attachment.decoded() {
                Ok(content) => total += content.len(),
                Err(message) => wrong.push(Invalid::new(at("content"), message)),
            }
            if attachment.filename.is_empty() {
                wrong.push(Invalid::new(at("filename"), "a file needs a name"));
            } else if attachment.filename.len() > 255 {
                wrong.push(Invalid::new(at("filename"), "longer than 255 bytes"));
            } else if let Some(c) = attachment.filename.chars().find(|c| c.is_control()) {
                wrong.push(Invalid::new(at("filename"), no_control(c)));
            }
            if let Err(message) = attachment.media_type() {
                wrong.push(Invalid::new(at("content_type"), message));
            }
        }
        if total > MAX_ATTACHED {
            let message = format!("{total} bytes in all; at most {MAX_ATTACHED} fit in one mail");
            wrong.push(Invalid::new("/attachments", message));
        }
    }
}

impl Attachment {
    /// The file itself. Line breaks in the base64 are ignored: many encoders wrap it.
    pub(super) fn decoded(&self) -> Result<Vec<u8>, String> {
        let packed: Vec<u8> = self
            .content
            .bytes()
            .filter(|b| !b.is_ascii_whitespace())
            .collect();
        BASE64
            .decode(packed)
            .map_err(|error| format!("not base64: {error}"))
    }

    /// The media type to send it with.
    pub(super) fn media_type(&self) -> Result<ContentType, String> {
        let text = self
            .content_type
            .as_deref()
            .unwrap_or("application/octet-stream");
        if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) || text.len() > 255 {
            return Err(
                "a media type is short printable ASCII, such as `application/pdf`".to_owned(),
            );
        }
        let kind = text
            .split('/')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if kind == "multipart" || kind == "message" {
            // RFC 2045, section 6.4: composite types must not be sent in base64.
            return Err(format!(
                "`{kind}/…` cannot be attached; send it as `application/octet-stream`"
            ));
        }
        ContentType::parse(text)
            .map_err(|_| format!("`{text}` is not a media type such as `application/pdf`"))
    }
}

fn check_mailbox(pointer: String, text: &str, wrong: &mut Vec<Invalid>) {
    if let Err(message) = mailbox::parse(text) {
        wrong.push(Invalid::new(pointer, message));
    }
}

fn check_header_name(name: &str) -> Result<(), String> {
    // RFC 5322, section 3.6.8: printable ASCII but the colon.
    let printable = name.bytes().all(|b| (33..=126).contains(&b) && b != b':');
    if name.is_empty() || name.len() > 76 || !printable {
        return Err(
            "a header's name is 1 to 76 printable ASCII characters, no space or colon".to_owned(),
        );
    }
    let lower = name.to_ascii_lowercase();
    if RESERVED.contains(&lower.as_str())
        || lower.starts_with("content-")
        || lower.starts_with("resent-")
    {
        return Err(format!(
            "`{name}` is set by another field or by the mail system, not here"
        ));
    }
    Ok(())
}

pub(super) fn check_header_value(value: &str) -> Result<(), String> {
    if let Some(c) = value.chars().find(|c| c.is_control()) {
        return Err(no_control(c));
    }
    let longest = value.split(' ').map(str::len).max().unwrap_or_default();
    if value.len() > MAX_VALUE || longest > MAX_WORD {
        return Err(format!(
            "longer than {MAX_VALUE} bytes, or {MAX_WORD} without a space"
        ));
    }
    if value.contains(&" ".repeat(MAX_SPACES + 1)) {
        return Err(format!(
            "more than {MAX_SPACES} spaces in a row: a line cannot be folded within them"
        ));
    }
    Ok(())
}

fn no_control(c: char) -> String {
    match c {
        '\r' | '\n' => "a line break is not allowed here".to_owned(),
        other => format!(
            "the control character U+{:04X} is not allowed here",
            u32::from(other)
        ),
    }
}

#[cfg(test)]
mod tests;
