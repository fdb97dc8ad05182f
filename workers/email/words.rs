use std::borrow::Cow;

use longshore::worker::Invalid;

use super::check::check_header_value;
use super::payload::SendEmail;
use super::templates::Templates;

/// What a mail says: in words of its own, or in a template's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words<'p> {
    pub(super) subject: Cow<'p, str>,
    pub(super) text: Option<Cow<'p, str>>,
    pub(super) html: Option<Cow<'p, str>>,
}

impl SendEmail {
    /// Finds the words of a payload that has passed [`SendEmail::check`].
    ///
    /// # Errors
    /// Everything about its template that is wrong: `/template`, what it needs and `data` lacks,
    /// a subject that nobody brings.
    pub(super) fn words(&self, templates: &Templates) -> Result<Words<'_>, Vec<Invalid>> {
        let own = self.subject.as_deref().map(Cow::Borrowed);
        let Some(name) = &self.template else {
            return Ok(Words {
                subject: own.unwrap_or_default(),
                text: self.text.as_deref().map(Cow::Borrowed),
                html: self.html.as_deref().map(Cow::Borrowed),
            });
        };
        let nothing = serde_json::Map::new();
        let made = templates.render(name, self.data.as_ref().unwrap_or(&nothing))?;
        let subject = match (own, made.subject) {
            (Some(own), _) => own,
            (None, Some(made)) => {
                check_header_value(&made).map_err(|message| {
                    let message = format!("makes a bad subject with {name}.subject: {message}");
                    vec![Invalid::new("/data", message)]
                })?;
                Cow::Owned(made)
            }
            (None, None) => {
                let message = format!("missing, and the template `{name}` brings none");
                return Err(vec![Invalid::new("/subject", message)]);
            }
        };
        Ok(Words {
            subject,
            text: made.text.map(Cow::Owned),
            html: made.html.map(Cow::Owned),
        })
    }
}
