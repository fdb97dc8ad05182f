use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{
    ContentDisposition, ContentTransferEncoding, ContentType, HeaderName,
};
use lettre::message::{
    Body, Mailbox, Message, MessageBuilder, MultiPart, MultiPartBuilder, SinglePart,
};
use longshore::job::{Failure, JobId};
use longshore::worker::Invalid;

use super::payload::{Attachment, SendEmail};
use super::templates::Templates;
use super::words::Words;
use super::{headers, mailbox};

/// By then every process has the templates that a job's door had.
const ROLLOUT: TimeDelta = TimeDelta::hours(1);
/// How soon a job is looked at again whose template is not there yet.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// A mail as it goes over the wire.
///
/// **Invariant:** it is a function of the job alone (payload, id, time of acceptance) and of the
/// template that it names, so that a repeat is byte for byte the same and can be recognised by its
/// `Message-ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    /// The job that it came from.
    pub(crate) job: JobId,
    /// With its angle brackets.
    pub(crate) message_id: String,
    /// The sender, as the servers see it.
    pub(crate) sender: Address,
    /// Everyone in `to`, `cc` and `bcc`, each once.
    pub(crate) recipients: Vec<Address>,
    /// Headers and body (RFC 5322), lines ending in CRLF, without any `Bcc`.
    pub(crate) content: Vec<u8>,
}

impl Mail {
    /// Builds the mail of a job that was accepted at `created_at`; `default_from` sends what
    /// names no sender.
    ///
    /// # Errors
    /// `email_invalid`, permanent: the payload never passed [`SendEmail::check`].
    /// `template_unknown` and `template_failed`: the template is not here, or needs other data than
    /// at the door; permanent once the job is older than [`ROLLOUT`], until then it waits.
    pub(crate) fn compose(
        payload: &SendEmail,
        templates: &Templates,
        default_from: &Mailbox,
        job: JobId,
        created_at: DateTime<Utc>,
    ) -> Result<Self, Failure> {
        payload.check().map_err(|wrong| invalid(listed(&wrong)))?;
        let words = payload.words(templates).map_err(|wrong| {
            let gone = payload
                .template
                .as_deref()
                .is_some_and(|name| !templates.knows(name));
            let code = if gone {
                "template_unknown"
            } else {
                "template_failed"
            };
            unready(code, &listed(&wrong), created_at)
        })?;
        let from = match &payload.from {
            Some(text) => mailbox::parse(text).map_err(invalid)?,
            None => default_from.clone(),
        };
        let sender = from.email.clone();
        let message_id = format!("<{job}@{}>", sender.domain());
        let lists = [read(&payload.to)?, read(&payload.cc)?, read(&payload.bcc)?];
        let recipients = once_each(&lists);
        let envelope = Envelope::new(Some(sender.clone()), recipients.clone()).map_err(invalid)?;

        let mut builder = Message::builder()
            .envelope(envelope)
            .message_id(Some(message_id.clone()))
            .date(SystemTime::from(created_at));
        let [to, cc, _hidden] = lists;
        let reply_to = payload.reply_to.as_deref().map(mailbox::parse);
        let reply_to = reply_to.transpose().map_err(invalid)?;
        for (name, list) in [
            ("From", vec![from]),
            ("To", to),
            ("Cc", cc),
            ("Reply-To", reply_to.into_iter().collect()),
        ] {
            if !list.is_empty() {
                let name = HeaderName::new_from_ascii_str(name);
                builder = builder.raw_header(headers::mailboxes(name, &list).map_err(invalid)?);
            }
        }
        let subject = HeaderName::new_from_ascii_str("Subject");
        builder = builder.raw_header(headers::text(subject, &words.subject).map_err(invalid)?);
        for (name, value) in &payload.headers {
            let name = HeaderName::new_from_ascii(name.clone()).map_err(|_| invalid(name))?;
            builder = builder.raw_header(headers::text(name, value).map_err(invalid)?);
        }
        let message = with_body(builder, &words, &payload.attachments, job)?;
        Ok(Self {
            job,
            message_id,
            sender,
            recipients,
            content: message.formatted(),
        })
    }

    /// True if it needs a server that takes UTF-8 addresses (SMTPUTF8, RFC 6531). Everything
    /// else is encoded in ASCII.
    pub(crate) fn needs_utf8(&self) -> bool {
        !self.content.is_ascii()
            || self
                .recipients
                .iter()
                .any(|address| !address.user().is_ascii())
    }
}

/// Templates are rolled out process by process: the door of a young job may have had newer ones
/// than this worker has.
fn unready(code: &str, message: &str, created_at: DateTime<Utc>) -> Failure {
    if Utc::now() - created_at < ROLLOUT {
        Failure::waiting(code, message, ASK_AGAIN)
    } else {
        Failure::permanent(code, message)
    }
}

fn invalid(message: impl std::fmt::Display) -> Failure {
    Failure::permanent("email_invalid", message)
}

fn listed(wrong: &[Invalid]) -> String {
    let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    wrong.join("; ")
}

fn read(list: &[String]) -> Result<Vec<Mailbox>, Failure> {
    list.iter()
        .map(|text| mailbox::parse(text).map_err(invalid))
        .collect()
}

fn once_each(lists: &[Vec<Mailbox>]) -> Vec<Address> {
    let mut unique: Vec<Address> = Vec::new();
    for mailbox in lists.iter().flatten() {
        if !unique.contains(&mailbox.email) {
            unique.push(mailbox.email.clone());
        }
    }
    unique
}

fn with_body(
    builder: MessageBuilder,
    words: &Words<'_>,
    attachments: &[Attachment],
    job: JobId,
) -> Result<Message, Failure> {
    let text = words
        .text
        .as_deref()
        .map(|text| part(ContentType::TEXT_PLAIN, text));
    let html = words
        .html
        .as_deref()
        .map(|html| part(ContentType::TEXT_HTML, html));
    if attachments.is_empty() {
        return match (text, html) {
            (Some(text), Some(html)) => builder.multipart(either(text, html, job)),
            (Some(only), None) | (None, Some(only)) => builder.singlepart(only),
            (None, None) => return Err(invalid("no body")),
        }
        .map_err(invalid);
    }
    let mixed = parts(MultiPart::mixed(), job, "mixed");
    let mut mixed = match (text, html) {
        (Some(text), Some(html)) => mixed.multipart(either(text, html, job)),
        (Some(only), None) | (None, Some(only)) => mixed.singlepart(only),
        (None, None) => return Err(invalid("no body")),
    };
    for attachment in attachments {
        mixed = mixed.singlepart(attached(attachment)?);
    }
    builder.multipart(mixed).map_err(invalid)
}

/// RFC 2046, section 5.1.4: the richest last.
fn either(text: SinglePart, html: SinglePart, job: JobId) -> MultiPart {
    parts(MultiPart::alternative(), job, "alternative")
        .singlepart(text)
        .singlepart(html)
}

/// A boundary that is the same at every attempt. No body holds it: the id was given after the
/// payload was written.
fn parts(builder: MultiPartBuilder, job: JobId, kind: &str) -> MultiPart {
    builder.boundary(format!("{kind}-{job}")).build()
}

fn part(kind: ContentType, text: &str) -> SinglePart {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    let body = if text.chars().all(plain) {
        Body::new(text)
    } else {
        encoded(text.into_bytes())
    };
    SinglePart::builder().header(kind).body(body)
}

fn attached(attachment: &Attachment) -> Result<SinglePart, Failure> {
    let content = attachment.decoded().map_err(invalid)?;
    Ok(SinglePart::builder()
        .header(ContentDisposition::attachment(&attachment.filename))
        .header(attachment.media_type().map_err(invalid)?)
        .body(encoded(content)))
}

/// In base64, whatever it is: no line is touched on the way.
fn encoded(bytes: Vec<u8>) -> Body {
    match Body::new_with_encoding(bytes, ContentTransferEncoding::Base64) {
        Ok(body) => body,
        // Only encodings that cannot hold every byte are refused.
        Err(bytes) => Body::new(bytes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn compose(payload: serde_json::Value) -> Mail {
        let payload: SendEmail = serde_json::from_value(payload).unwrap();
        compose_typed(&payload).unwrap()
    }

    fn compose_typed(payload: &SendEmail) -> Result<Mail, Failure> {
        let from = mailbox::parse("Shop <shop@müller.de>").unwrap();
        let id = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        Mail::compose(
            payload,
            &Templates::default(),
            &from,
            id,
            "2026-01-02T03:04:05.678Z".parse().unwrap(),
        )
    }

    fn text(mail: &Mail) -> String {
        String::from_utf8(mail.content.clone()).unwrap()
    }

    #[test]
    fn a_mail_is_a_function_of_its_job() {
        let payload = serde_json::to_value(super::super::payload::example()).unwrap();
        let mail = compose(payload.clone());
        assert_eq!(mail, compose(payload));
        let id = "<01890a5d-ac96-774b-bcce-b302099a8057@xn--mller-kva.de>";
        assert_eq!(mail.message_id, id);
        let text = text(&mail);
        assert!(
            text.contains(&format!("\r\nMessage-ID: {id}\r\n"))
                || text.starts_with(&format!("Message-ID: {id}\r\n")),
            "{text}"
        );
        assert!(
            text.contains("Date: Fri, 02 Jan 2026 03:04:05 +0000\r\n"),
            "{text}"
        );
    }

    #[test]
    fn hidden_recipients_are_in_the_envelope_only_and_each_once() {
        let mail = compose(json!({
            "to": ["a@b.c", "A <a@b.c>"], "cc": ["d@e.f"], "bcc": ["hidden@e.f", "d@e.f"],
            "subject": "x", "text": "y", "from": "boss@e.f",
        }));
        let recipients: Vec<String> = mail.recipients.iter().map(ToString::to_string).collect();
        assert_eq!(recipients, ["a@b.c", "d@e.f", "hidden@e.f"]);
        assert_eq!(mail.sender.to_string(), "boss@e.f");
        assert!(!text(&mail).to_ascii_lowercase().contains("bcc:"));
        assert!(!text(&mail).contains("hidden"));
    }

    #[test]
    fn only_an_address_outside_ascii_needs_utf8() {
        let plain = json!({"to": ["Zoë <zoe@müller.de>"], "subject": "ÄÖÜ ✉", "text": "größer", "html": "✉"});
        assert!(!compose(plain).needs_utf8());
        for field in ["to", "bcc"] {
            let mut payload = json!({"to": ["a@b.c"], "subject": "", "text": ""});
            payload[field] = json!(["zoë@example.com"]);
            assert!(compose(payload).needs_utf8(), "{field}");
        }
    }

    #[test]
    fn what_was_never_checked_is_permanently_wrong() {
        let payload = SendEmail {
            subject: Some("\r\nBcc: x@y.z".to_owned()),
            ..SendEmail::default()
        };
        let failure = compose_typed(&payload).unwrap_err();
        assert_eq!(failure.error().code, "email_invalid");
        assert!(
            failure.error().message.contains("/subject"),
            "{}",
            failure.error()
        );
    }

    proptest! {
        #[test]
        fn what_passes_the_check_composes_and_injects_nothing(
            name in "\\PC{0,20}", subject in "\\PC{0,200}", body in any::<String>(),
            header in "[!-9;-~]{1,20}", value in "\\PC{0,120}", file in "\\PC{1,60}",
            user in "[a-zé]{1,8}",
        ) {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            let payload: SendEmail = serde_json::from_value(json!({
                "to": [format!("\"{name}\" <{user}@example.com>"), "ada@example.com"], "subject": subject, "text": body, "html": body,
                "headers": {header.clone(): value},
                "attachments": [{"filename": file, "content": "TWFu"}],
            })).unwrap();
            let checked = payload.check();
            let composed = compose_typed(&payload);
            prop_assert_eq!(checked.is_ok(), composed.is_ok(), "{:?}", checked);
            if let Ok(mail) = composed {
                let content = String::from_utf8(mail.content).unwrap();
                let (head, _) = content.split_once("\r\n\r\n").unwrap();
                prop_assert!(!head.replace("\r\n", "").contains(['\r', '\n']));
                let mut names: Vec<&str> = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']))
                    .map(|line| line.split(':').next().unwrap()).collect();
                names.sort_unstable();
                let mut expected = vec!["Message-ID", "Date", "From", "To", "Subject", "MIME-Version", "Content-Type", header.as_str()];
                expected.sort_unstable();
                prop_assert_eq!(names, expected);
                prop_assert!(content.split("\r\n").all(|line| line.len() <= 998), "{}", content);
            }
        }
    }
}
