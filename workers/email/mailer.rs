use std::path::PathBuf;

use chrono::{DateTime, Utc};
use lettre::message::Mailbox;
use longshore::job::{Done, Failure, JobId, JobResult};
use rustls::RootCertStore;
use serde_json::json;
use tokio::time::Instant;

use super::compose::Mail;
use super::directory;
use super::payload::SendEmail;
use super::settings::{MailTarget, TlsMode, mail_from};
use super::smtp::{Limits, SmtpTransport};
use super::templates::Templates;

/// What is kept of a server's answer, in characters.
const MAX_RESPONSE: usize = 500;

/// Sends mails: what every `email.send` works with. One for the process.
#[derive(Debug)]
pub(crate) struct Mailer {
    from: Mailbox,
    way: Way,
    templates: Templates,
}

#[derive(Debug)]
enum Way {
    Smtp(SmtpTransport),
    Directory(PathBuf),
}

impl Mailer {
    /// A mailer for these values of `SMTP_URL` and `MAIL_FROM`. It trusts the machine's root
    /// certificates, or those in the file that `SSL_CERT_FILE` names. Connects to nothing yet.
    ///
    /// # Errors
    /// Everything that is wrong, each naming the variable and the fix.
    pub(crate) fn from_settings(smtp_url: &str, from: &str) -> Result<Self, Vec<String>> {
        let (target, from) = match (MailTarget::parse(smtp_url), mail_from(from)) {
            (Ok(target), Ok(from)) => (target, from),
            (target, from) => return Err(target.err().into_iter().chain(from.err()).collect()),
        };
        let roots = trusted_roots(&target).map_err(|error| vec![error])?;
        Self::new(target, from, Limits::default(), roots).map_err(|error| vec![error])
    }

    /// A mailer for `target` that trusts `roots`.
    ///
    /// # Errors
    /// What does not work here, for people.
    pub(crate) fn new(
        target: MailTarget,
        from: Mailbox,
        limits: Limits,
        roots: RootCertStore,
    ) -> Result<Self, String> {
        let way = match target {
            MailTarget::Smtp(server) => Way::Smtp(SmtpTransport::new(server, limits, roots)?),
            MailTarget::Directory(folder) => Way::Directory(folder),
        };
        Ok(Self {
            from,
            way,
            templates: Templates::default(),
        })
    }

    /// Has mails filled in with these templates.
    #[must_use]
    pub(crate) fn templates(self, templates: Templates) -> Self {
        Self { templates, ..self }
    }

    /// Sends the mail of one job, whose run is cut off at `deadline`. The result holds its `message_id`, and what the server said
    /// (`response`) or where the file is (`path`).
    ///
    /// # Errors
    /// By the table in the documentation of [`super`].
    pub(crate) async fn send(
        &self,
        payload: &SendEmail,
        job: JobId,
        created_at: DateTime<Utc>,
        deadline: Instant,
    ) -> JobResult {
        let mail = Mail::compose(payload, &self.templates, &self.from, job, created_at)?;
        let result = self.deliver(&mail, deadline).await?;
        Done::with(result)
    }

    async fn deliver(&self, mail: &Mail, deadline: Instant) -> Result<serde_json::Value, Failure> {
        Ok(match &self.way {
            Way::Smtp(smtp) => {
                let reply = smtp.deliver(mail, deadline).await?;
                let response: String = reply.to_string().chars().take(MAX_RESPONSE).collect();
                json!({"message_id": mail.message_id, "response": response})
            }
            Way::Directory(folder) => {
                let path = directory::deliver(folder, mail).await?;
                json!({"message_id": mail.message_id, "path": path.to_string_lossy()})
            }
        })
    }
}

fn trusted_roots(target: &MailTarget) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let MailTarget::Smtp(server) = target else {
        return Ok(roots);
    };
    if server.tls != TlsMode::None {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let must_encrypt = matches!(server.tls, TlsMode::Required | TlsMode::Implicit);
    if must_encrypt && roots.is_empty() {
        return Err("SMTP_URL: asks for TLS, but this machine has no root certificates; install them (ca-certificates) or name a file of them in SSL_CERT_FILE".to_owned());
    }
    Ok(roots)
}
