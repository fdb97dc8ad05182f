use std::fmt;

use url::Url;

/// A value that must not be seen: a password, a key, a URL that holds one.
///
/// `Debug` and `Display` show `***`, and there is no `Serialize`, so that it takes a call to
/// [`Secret::expose`] to let the content out.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `content`.
    #[must_use]
    pub fn new(content: impl Into<String>) -> Self {
        Self(content.into())
    }

    /// The content, for the library that needs it. Not for logs, errors or answers.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// For logs: scheme, host, port and path of a URL, without user, password and parameters;
    /// `***` for what is no URL or might be misread as one.
    #[must_use]
    pub fn redacted(&self) -> String {
        if self.0.starts_with("file://") {
            return self.0.clone();
        }
        let Some(url) = Url::parse(&self.0).ok().filter(|url| !misread(url)) else {
            return "***".to_owned();
        };
        let Some(host) = url.host_str() else {
            return "***".to_owned();
        };
        let port = url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        format!("{}://{host}{port}{}", url.scheme(), url.path())
    }
}

/// Whether a raw `/`, `?` or `#` in a password has cut the URL short, so that parts of the
/// password now pass for host, port or path: `postgres://user:12#34@host/db` has the host
/// `user` and the port 12.
pub(super) fn misread(url: &Url) -> bool {
    let at_sign = |part: &str| part.contains('@');
    at_sign(url.path()) || url.query().is_some_and(at_sign) || url.fragment().is_some()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<String> for Secret {
    fn from(content: String) -> Self {
        Self(content)
    }
}

impl From<&str> for Secret {
    fn from(content: &str) -> Self {
        Self(content.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_expose_lets_the_content_out() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {secret:#?}"),
            "*** Secret(***) Secret(***)"
        );
        assert_eq!(format!("{:?}", Some(&secret)), "Some(Secret(***))");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn redaction_leaves_what_is_needed_to_find_the_server() {
        for (content, shown) in [
            (
                "postgres://u:hunter2@db:5432/longshore",
                "postgres://db:5432/longshore",
            ),
            (
                "postgres://u@db/longshore?password=hunter2",
                "postgres://db/longshore",
            ),
            ("amqps://u:hunter2@rabbit/%2F", "amqps://rabbit/%2F"),
            ("amqp://u:hunter2@[::1]:5672", "amqp://[::1]:5672"),
            ("smtp://u:hunter2@mail:587?tls=required", "smtp://mail:587"),
            ("file://.longshore/mail", "file://.longshore/mail"),
            ("postgres:///longshore", "***"),
            ("hunter2", "***"),
            ("", "***"),
        ] {
            assert_eq!(Secret::new(content).redacted(), shown, "{content}");
        }
    }

    #[test]
    fn a_raw_delimiter_in_a_password_does_not_show_the_rest_of_it() {
        for content in [
            "postgres://user:123/hunter2@db/longshore",
            "postgres://user:123?hunter2@db/longshore",
            "postgres://user:123#hunter2@db/longshore",
            "postgres://user:123#hunter2",
            "postgres://user:hun@ter2/x@db/longshore",
        ] {
            assert_eq!(Secret::new(content).redacted(), "***", "{content}");
        }
    }
}
