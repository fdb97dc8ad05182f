use longshore::config::{SettingError, WorkerSettings};
use longshore::job::JobResult;
use longshore::worker::{Attempt, Door, Invalid, Job};

use super::{Mailer, SendEmail, Templates};

impl Job for SendEmail {
    const KIND: &'static str = "email.send";
    type Context = Mailer;

    fn validate(&self) -> Result<(), Vec<Invalid>> {
        self.check()
    }

    /// A template that is there, with all that it needs.
    fn door(settings: &WorkerSettings) -> Result<Door<Self>, Vec<SettingError>> {
        let templates = Templates::from_settings(settings)?;
        Ok(Door::checking(move |mail: &Self| {
            mail.words(&templates).map(|_| ())
        }))
    }

    fn example() -> Option<Self> {
        Some(super::payload::example())
    }

    async fn run(self, mailer: &Mailer, attempt: &Attempt) -> JobResult {
        mailer
            .send(
                &self,
                attempt.job_id(),
                attempt.created_at(),
                attempt.deadline(),
            )
            .await
    }
}

impl Mailer {
    /// The mailer of a process, as its settings say.
    ///
    /// # Errors
    /// Every setting that is missing or wrong.
    pub(crate) fn for_jobs(settings: &WorkerSettings) -> Result<Self, Vec<SettingError>> {
        let url = settings.require_smtp_url().map_err(|error| vec![error])?;
        let mailer = Self::from_settings(url.expose(), &settings.mail_from).map_err(|texts| {
            texts
                .iter()
                .map(|text| wrong_setting(text))
                .collect::<Vec<_>>()
        })?;
        Ok(mailer.templates(Templates::from_settings(settings)?))
    }
}

/// A mailer's complaint `KEY: what is wrong; what to write` in the form of every setting's.
fn wrong_setting(text: &str) -> SettingError {
    let (key, rest) = text.split_once(": ").unwrap_or(("SMTP_URL", text));
    let (message, fix) = rest.split_once("; ").unwrap_or((rest, "correct it"));
    SettingError::new(key, message, fix)
}
