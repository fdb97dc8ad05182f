//! `email.send`: mails, by SMTP or into a folder.
//!
//! A mail is a function of its job: `Message-ID` is `<job id@domain of the sender>`, `Date` is
//! when the job was accepted, and a repeat is byte for byte the same (with the same templates). It can repeat only where
//! its outcome was unknown: the answer to its content was lost.
//!
//! # How it ends
//!
//! | code | class | when |
//! |---|---|---|
//! | `smtp_connect` | unavailable | the name is not resolved, or the connection is refused |
//! | `smtp_tls` | unavailable | the handshake fails (an untrusted certificate), STARTTLS is refused, or is not offered where `tls=required` |
//! | `smtp_greeting` | unavailable | the greeting is a 4yz or 5yz |
//! | `smtp_ehlo` | unavailable | EHLO is refused |
//! | `smtp_auth` | unavailable | AUTH is refused (a wrong password is an outage, not the mail's fault) or not offered |
//! | `smtp_421` | unavailable | 421 at any stage: the server is closing |
//! | `smtp_530` | unavailable | the server wants a login or TLS first (RFC 4954, RFC 3207) |
//! | `smtp_busy` | waiting | none of this process's connections came free in time |
//! | `smtp_cut` | unavailable; from DATA on retried | the connection ended |
//! | `smtp_timeout` | unavailable; from DATA on retried | no answer in time |
//! | `smtp_protocol` | unavailable; from DATA on retried | the answer is not SMTP, or not one to what was asked |
//! | `smtp_4yz` (`smtp_451`) | retried; by greylisting not within 60 s | MAIL FROM, RCPT TO, DATA or the content is refused for now |
//! | `smtp_5yz` (`smtp_550`) | permanent | it is refused for good |
//! | `smtp_utf8` | permanent | an address is not ASCII and the server has no SMTPUTF8 |
//! | `email_invalid` | permanent | the payload never passed the check at the door |
//! | `template_unknown` | waiting; permanent an hour after the job was accepted | this worker does not know its template: not yet, or no longer |
//! | `template_failed` | waiting; permanent an hour after the job was accepted | this worker's template needs other data than the one at the door |
//! | `email_write` | unavailable | the folder of `file://` cannot be written to |
//!
//! "Unavailable" and "waiting" count no attempt. One recipient refused is the whole mail refused, with nothing
//! sent. A kept connection that turns out dead before the server took MAIL FROM is no failure at
//! all: another one is tried.

mod check;
mod compose;
mod directory;
mod headers;
mod job;
mod mailbox;
mod mailer;
mod payload;
mod settings;
mod smtp;
mod templates;
mod words;

pub(crate) use mailer::Mailer;
pub(crate) use payload::SendEmail;
pub(crate) use templates::Templates;
#[allow(
    unused_imports,
    reason = "the integration tests in tests/email build mailers with them"
)]
pub(crate) use {payload::Attachment, settings::MailTarget, settings::mail_from, smtp::Limits};
