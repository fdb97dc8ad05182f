use std::path::PathBuf;

use super::error::{Checked, Problem, SettingError};
use super::secret::Secret;
use super::urls::url_of;

/// Settings that are handed on to jobs. Each is required only by the jobs that use it, so they
/// are optional here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSettings {
    /// `SMTP_URL`: `smtp(s)://…?tls=none|opportunistic|required`, or `file://` and a folder.
    pub smtp_url: Option<Secret>,
    /// `MAIL_FROM`: the sender of mail that names none.
    pub mail_from: String,
    /// `MAIL_TEMPLATES`: the folder of the mails' templates, if there are any.
    pub mail_templates: Option<PathBuf>,
    /// `STRIPE_API_KEY`; `sandbox` is the built-in gateway.
    pub stripe_api_key: Option<Secret>,
    /// `STRIPE_API_BASE`, without a slash at its end; Stripe's own unless set.
    pub stripe_api_base: Option<String>,
    /// `LONGSHORE_DATA_DIR`.
    pub data_dir: PathBuf,
    /// Whether this is `longshore dev`.
    pub dev: bool,
}

impl WorkerSettings {
    /// The mail server.
    ///
    /// # Errors
    /// When `SMTP_URL` is not set.
    pub fn require_smtp_url(&self) -> Result<&Secret, SettingError> {
        let fix = "set it to the mail server, e.g. smtp://user:password@mail.example.com:587\
                   ?tls=required, or to a folder, e.g. file:///var/mail/longshore";
        required("SMTP_URL", self.smtp_url.as_ref(), fix)
    }

    /// The payment gateway's key.
    ///
    /// # Errors
    /// When `STRIPE_API_KEY` is not set.
    pub fn require_stripe_api_key(&self) -> Result<&Secret, SettingError> {
        let fix = "set it to a secret key of the Stripe account, or to `sandbox` for the \
                   built-in gateway";
        required("STRIPE_API_KEY", self.stripe_api_key.as_ref(), fix)
    }
}

fn required<'a>(
    key: &str,
    value: Option<&'a Secret>,
    fix: &str,
) -> Result<&'a Secret, SettingError> {
    value.ok_or_else(|| SettingError::new(key, "is not set, and a job here needs it", fix))
}

/// Checks `SMTP_URL`.
pub(super) fn smtp_url(text: &str) -> Checked<Secret> {
    const EXAMPLE: &str = "e.g. smtp://user:password@mail.example.com:587?tls=required, or \
                           file:///var/mail/longshore";
    if let Some(folder) = text.strip_prefix("file://") {
        if folder.is_empty() {
            let fix = "e.g. file:///var/mail/longshore";
            return Err(Problem::new("names no folder", fix));
        }
        return Ok(Secret::new(text));
    }
    let url = url_of(text, &["smtp", "smtps", "file"], EXAMPLE)?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Problem::new("names no host", EXAMPLE));
    }
    if !matches!(url.path(), "" | "/") {
        return Err(Problem::new("takes no path after the host", EXAMPLE));
    }
    for (name, value) in url.query_pairs() {
        if name != "tls" {
            let fix = "write tls=none, tls=opportunistic or tls=required, or nothing";
            return Err(Problem::new("has a parameter that is not known", fix));
        }
        if !["none", "opportunistic", "required"].contains(&value.as_ref()) {
            let fix = "write tls=none, tls=opportunistic or tls=required";
            return Err(Problem::new("has a `tls` that is not known", fix));
        }
        if url.scheme() == "smtps" && value != "required" {
            let fix = "smtps:// is always encrypted: leave `tls` out, or use smtp://";
            return Err(Problem::new("contradicts itself about encryption", fix));
        }
    }
    Ok(Secret::new(text))
}

/// Checks `MAIL_FROM`: an address, with or without a name.
pub(super) fn mail_from(text: &str) -> Checked<String> {
    match text.parse::<lettre::message::Mailbox>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Problem::new(
            format!("`{text}` is no sender: {error}"),
            "write an address, e.g. shop@example.com or Shop <shop@example.com>",
        )),
    }
}

/// Checks a key that travels in an HTTP header.
pub(super) fn header_safe(text: &str) -> Checked<Secret> {
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(Secret::new(text));
    }
    Err(Problem::new(
        "holds characters that cannot travel in an HTTP header",
        "use visible ASCII characters without spaces",
    ))
}

/// Shortest `LONGSHORE_ADMIN_KEY`, in characters: 128 bits as hexadecimal digits.
const SHORTEST_ADMIN_KEY: usize = 32;

/// Checks `LONGSHORE_ADMIN_KEY`.
pub(super) fn admin_key(text: &str) -> Checked<Secret> {
    if text.len() < SHORTEST_ADMIN_KEY {
        return Err(Problem::new(
            format!("is shorter than {SHORTEST_ADMIN_KEY} characters: it could be guessed"),
            "make one with `openssl rand -hex 32`",
        ));
    }
    header_safe(text)
}

/// Checks `STRIPE_API_KEY`.
pub(super) fn stripe_api_key(text: &str) -> Checked<Secret> {
    if text.starts_with("pk_") {
        return Err(Problem::new(
            "is a publishable key (pk_…), which cannot charge",
            "use the secret key (sk_…) or a restricted one (rk_…)",
        ));
    }
    header_safe(text)
}

/// Checks `STRIPE_API_BASE`; a slash at its end is dropped.
pub(super) fn stripe_api_base(text: &str) -> Checked<String> {
    const EXAMPLE: &str = "e.g. https://api.stripe.com";
    let url = url_of(text, &["https", "http"], EXAMPLE)?;
    if !url.username().is_empty() || url.password().is_some() {
        let fix = "leave user and password out; the key is STRIPE_API_KEY";
        return Err(Problem::new("holds a user or password", fix));
    }
    if url.query().is_some() {
        return Err(Problem::new("takes no parameters", EXAMPLE));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_goes_to_a_server_or_a_folder() {
        for good in [
            "smtp://localhost",
            "smtp://u:p@mail:587?tls=required",
            "smtp://mail:25/?tls=none",
            "smtps://u:p@mail",
            "file://.longshore/mail",
            "file:///var/mail",
        ] {
            assert_eq!(smtp_url(good).unwrap().expose(), good);
        }
        for (bad, message) in [
            (
                "mail.example.com",
                "must start with smtp:// or smtps:// or file://",
            ),
            ("file://", "names no folder"),
            ("smtp://", "names no host"),
            ("smtp://mail/x", "takes no path after the host"),
            ("smtp://mail?tls=yes", "has a `tls` that is not known"),
            ("smtp://mail?ssl=none", "has a parameter that is not known"),
            (
                "smtps://mail?tls=none",
                "contradicts itself about encryption",
            ),
        ] {
            assert_eq!(smtp_url(bad).unwrap_err().message, message, "{bad}");
        }
    }

    #[test]
    fn senders_are_addresses() {
        for good in [
            "longshore@localhost",
            "shop@example.com",
            "The Shop <shop@example.com>",
        ] {
            assert_eq!(mail_from(good), Ok(good.to_owned()));
        }
        for bad in ["shop", "Shop <shop>", "a@b, c@d"] {
            assert!(mail_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_admin_key_is_long_and_can_travel() {
        assert!(admin_key(&"f".repeat(32)).is_ok());
        for bad in ["f".repeat(31), "f ".repeat(20), "\u{e9}".repeat(32)] {
            assert!(admin_key(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn gateway_keys_can_charge_and_travel() {
        for good in ["sandbox", "sk_test_1", "rk_live_1"] {
            assert_eq!(stripe_api_key(good).unwrap().expose(), good);
        }
        for bad in ["pk_live_1", "sk test", "sk_\u{e9}"] {
            assert!(stripe_api_key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_gateway_is_an_http_url_without_a_user() {
        assert_eq!(
            stripe_api_base("http://127.0.0.1:12111/"),
            Ok("http://127.0.0.1:12111".to_owned())
        );
        for bad in [
            "api.stripe.com",
            "https://u:p@x",
            "https://x?y=z",
            "ftp://x",
            "https://",
        ] {
            assert!(stripe_api_base(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_job_needs_is_required_then() {
        let none = WorkerSettings {
            smtp_url: None,
            mail_from: "a@b".to_owned(),
            mail_templates: None,
            stripe_api_key: None,
            stripe_api_base: None,
            data_dir: ".".into(),
            dev: false,
        };
        assert_eq!(none.require_smtp_url().unwrap_err().key, "SMTP_URL");
        assert_eq!(
            none.require_stripe_api_key().unwrap_err().key,
            "STRIPE_API_KEY"
        );
        let some = WorkerSettings {
            smtp_url: Some("smtp://a".into()),
            stripe_api_key: Some("sandbox".into()),
            ..none
        };
        assert_eq!(some.require_smtp_url().unwrap().expose(), "smtp://a");
        assert_eq!(some.require_stripe_api_key().unwrap().expose(), "sandbox");
    }
}
