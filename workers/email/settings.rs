use std::fmt;
use std::path::PathBuf;

use lettre::message::Mailbox;
use percent_encoding::percent_decode_str;
use url::Url;

use super::mailbox;

/// Where mails go, as `SMTP_URL` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MailTarget {
    /// A server.
    Smtp(SmtpServer),
    /// `.eml` files in a folder, for development.
    Directory(PathBuf),
}

/// A mail server and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SmtpServer {
    /// A name or an address, without brackets.
    pub(crate) host: String,
    /// 465 for `smtps`; for `smtp` 587 (submission, RFC 6409) with a user and 25 without.
    pub(crate) port: u16,
    /// How the connection is encrypted.
    pub(crate) tls: TlsMode,
    /// Whom to log in as, if at all.
    pub(crate) login: Option<Login>,
}

/// How a connection is encrypted. Certificates are always checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
    /// `tls=none`: never.
    None,
    /// `tls=opportunistic`: STARTTLS where the server offers it.
    Opportunistic,
    /// `tls=required`: STARTTLS, or no mail.
    Required,
    /// `smtps://`: from the first byte (RFC 8314).
    Implicit,
}

/// A user and a password, which no output shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

const SHAPE: &str = "write smtp://user:password@host:port?tls=none|opportunistic|required, smtps://user:password@host:port or file://dir; percent-encode special characters in the password";

impl MailTarget {
    /// Reads `SMTP_URL`.
    ///
    /// # Errors
    /// What is wrong and how to write it; never any part of the text itself, because a password
    /// that is not percent-encoded may end up in any part.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("SMTP_URL: {what}; {SHAPE}");
        if let Some(path) = text.strip_prefix("file://") {
            return directory(path).map_err(wrong);
        }
        let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        server(&url).map(Self::Smtp).map_err(wrong)
    }
}

/// Reads `MAIL_FROM`.
///
/// # Errors
/// What is wrong and how to write it.
pub(crate) fn mail_from(text: &str) -> Result<Mailbox, String> {
    mailbox::parse(text).map_err(|error| format!("MAIL_FROM: {error}"))
}

fn directory(path: &str) -> Result<MailTarget, &'static str> {
    if path.contains(['?', '#']) {
        return Err("a `file://` URL has no options (write `?` as %3F and `#` as %23)");
    }
    let path = decoded(path)?;
    if path.is_empty() || path.contains('\0') {
        return Err("`file://` needs a folder");
    }
    Ok(MailTarget::Directory(PathBuf::from(path)))
}

fn server(url: &Url) -> Result<SmtpServer, &'static str> {
    let implicit = match url.scheme() {
        "smtp" => false,
        "smtps" => true,
        _ => return Err("the scheme is not `smtp`, `smtps` or `file`"),
    };
    if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
        return Err("nothing may follow the port but `?tls=…`");
    }
    let login = login(url)?;
    let default_port = match (implicit, &login) {
        (true, _) => 465,
        (false, Some(_)) => 587,
        (false, None) => 25,
    };
    Ok(SmtpServer {
        host: host(url)?,
        port: url.port().unwrap_or(default_port),
        tls: tls(url, implicit)?,
        login,
    })
}

fn host(url: &Url) -> Result<String, &'static str> {
    let missing = "the host is missing or not valid";
    let host = decoded(url.host_str().unwrap_or_default())?;
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(&host);
    if let Ok(address) = bare.parse::<std::net::IpAddr>() {
        return Ok(address.to_string());
    }
    match url::Host::parse(bare).map_err(|_| missing)? {
        url::Host::Domain(domain) if !domain.is_empty() => Ok(domain),
        url::Host::Ipv4(address) => Ok(address.to_string()),
        url::Host::Ipv6(address) => Ok(address.to_string()),
        url::Host::Domain(_) => Err(missing),
    }
}

fn login(url: &Url) -> Result<Option<Login>, &'static str> {
    let user = decoded(url.username())?;
    let password = match url.password() {
        Some(password) => decoded(password)?,
        None if user.is_empty() => return Ok(None),
        None => return Err("the user has no password"),
    };
    if user.is_empty() || password.is_empty() {
        return Err("the user or the password is empty");
    }
    if user.contains('\0') || password.contains('\0') {
        return Err("the user or the password holds a NUL, which SMTP cannot carry");
    }
    Ok(Some(Login { user, password }))
}

fn tls(url: &Url, implicit: bool) -> Result<TlsMode, &'static str> {
    let mut mode = None;
    for (key, value) in url.query_pairs() {
        if key != "tls" || mode.is_some() {
            return Err("the only option is `tls`, given once");
        }
        mode = Some(match (&*value, implicit) {
            ("required", true) => TlsMode::Implicit,
            (_, true) => return Err("`smtps` is always encrypted: drop `tls`, or use `smtp`"),
            ("none", false) => TlsMode::None,
            ("opportunistic", false) => TlsMode::Opportunistic,
            ("required", false) => TlsMode::Required,
            _ => return Err("`tls` is `none`, `opportunistic` or `required`"),
        });
    }
    let default = if implicit {
        TlsMode::Implicit
    } else {
        TlsMode::Opportunistic
    };
    Ok(mode.unwrap_or(default))
}

fn decoded(text: &str) -> Result<String, &'static str> {
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| "the percent-encoding is not UTF-8")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn smtp(host: &str, port: u16, tls: TlsMode, login: Option<(&str, &str)>) -> MailTarget {
        let login = login.map(|(user, password)| Login {
            user: user.to_owned(),
            password: password.to_owned(),
        });
        MailTarget::Smtp(SmtpServer {
            host: host.to_owned(),
            port,
            tls,
            login,
        })
    }

    #[test]
    fn urls_and_their_defaults() {
        use TlsMode::{Implicit, None as Plain, Opportunistic, Required};
        let table = [
            (
                "smtp://mail.example",
                smtp("mail.example", 25, Opportunistic, None),
            ),
            (
                "smtp://u:p@mail.example/",
                smtp("mail.example", 587, Opportunistic, Some(("u", "p"))),
            ),
            (
                "smtps://u:p@mail.example",
                smtp("mail.example", 465, Implicit, Some(("u", "p"))),
            ),
            (
                "smtps://mail.example?tls=required",
                smtp("mail.example", 465, Implicit, None),
            ),
            (
                "smtp://127.0.0.1:1025?tls=none",
                smtp("127.0.0.1", 1025, Plain, None),
            ),
            (
                "smtp://[::1]:25?tls=required",
                smtp("::1", 25, Required, None),
            ),
            (
                "smtp://ada%40example.com:p%3A%2F%40%23%20w@Mail.Example:2525?tls=opportunistic",
                smtp(
                    "mail.example",
                    2525,
                    Opportunistic,
                    Some(("ada@example.com", "p:/@# w")),
                ),
            ),
            (
                "file:///var/mail%20out",
                MailTarget::Directory("/var/mail out".into()),
            ),
            (
                "file://.longshore/mail",
                MailTarget::Directory(".longshore/mail".into()),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(MailTarget::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for text in [
            "",
            "mail.example",
            "http://u:hunter2@mail.example",
            "smtp://u:hunter2@",
            "smtp://u:hunter2@mail.example:99999",
            "smtp://u:hunter2@mail.example/path",
            "smtp://u:hunter2@mail.example#x",
            "smtp://u:hunter2@mail.example?starttls=yes",
            "smtp://u:hunter2@mail.example?tls=maybe",
            "smtp://u:hunter2@mail.example?tls=none&tls=none",
            "smtps://u:hunter2@mail.example?tls=none",
            "smtp://:hunter2@mail.example",
            "smtp://u@mail.example",
            "smtp://u:hunter2%00@mail.example",
            "smtp://u:hunter2%ff@mail.example",
            "smtp://u:1?hunter2@mail.example",
            "smtp://u:1#hunter2@mail.example",
            "smtp://u:1/hunter2@mail.example",
            "file://",
            "file://dir?tls=none",
        ] {
            let error = MailTarget::parse(text).unwrap_err();
            assert!(
                error.starts_with("SMTP_URL: ") && error.contains("write smtp://"),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(mail_from("x").unwrap_err().starts_with("MAIL_FROM: "));
    }

    #[test]
    fn no_output_shows_the_password() {
        let target = MailTarget::parse("smtp://ada:hunter2@mail.example").unwrap();
        assert!(!format!("{target:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn every_login_comes_through_percent_encoding(user in "[^\0]{1,12}", password in "[^\0]{1,12}") {
            let encode = |s: &str| percent_encoding::utf8_percent_encode(s, percent_encoding::NON_ALPHANUMERIC).to_string();
            let text = format!("smtp://{}:{}@mail.example", encode(&user), encode(&password));
            let parsed = MailTarget::parse(&text).unwrap();
            prop_assert_eq!(parsed, smtp("mail.example", 587, TlsMode::Opportunistic, Some((&user, &password))));
        }

        #[test]
        fn no_text_panics(text in "(smtp|smtps|file)?(://)?\\PC{0,40}") {
            let _ = MailTarget::parse(&text);
        }
    }
}
