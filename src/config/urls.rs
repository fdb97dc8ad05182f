use std::fmt;
use std::path::PathBuf;

use url::Url;

use super::error::{Checked, Problem};
use super::secret::{Secret, misread};

const POSTGRES: &[&str] = &["postgres", "postgresql"];
const DATABASE_EXAMPLE: &str = "e.g. postgres://user:password@localhost/longshore";
const AMQP_EXAMPLE: &str = "e.g. amqp://guest:guest@localhost:5672";

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// PostgreSQL; a `postgres://` or `postgresql://` URL.
    Postgres(Secret),
    /// SQLite in this file.
    Sqlite(PathBuf),
}

impl DatabaseUrl {
    /// Reads `DATABASE_URL`: `postgres://…`, or `sqlite://` and a path as it is, with nothing
    /// decoded.
    pub(super) fn parse(text: &str) -> Checked<Self> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return sqlite(path.strip_prefix("//").unwrap_or(path));
        }
        if !has_scheme(text, POSTGRES) {
            let message = "must start with postgres:// or sqlite://";
            return Err(Problem::new(message, DATABASE_EXAMPLE));
        }
        let url = url_of(text, POSTGRES, DATABASE_EXAMPLE)?;
        if url.path().trim_matches('/').contains('/') {
            return Err(Problem::new(
                "names more than one database",
                format!("a single name after the host, {DATABASE_EXAMPLE}"),
            ));
        }
        Ok(Self::Postgres(Secret::new(text)))
    }
}

/// Without user and password, for people.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(url) => f.write_str(&url.redacted()),
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
        }
    }
}

fn sqlite(path: &str) -> Checked<DatabaseUrl> {
    const EXAMPLE: &str = "e.g. sqlite://.longshore/longshore.db";
    if path.is_empty() {
        Err(Problem::new("names no file", EXAMPLE))
    } else if path.contains(":memory:") || path.contains("mode=memory") {
        Err(Problem::new(
            "is a database in memory, which would lose jobs",
            EXAMPLE,
        ))
    } else if path.contains('?') {
        Err(Problem::new("takes no parameters after the file", EXAMPLE))
    } else {
        Ok(DatabaseUrl::Sqlite(PathBuf::from(path)))
    }
}

/// What moves the jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerUrl {
    /// RabbitMQ.
    Amqp(AmqpUrls),
    /// In this process.
    Embedded,
}

/// Without users and passwords, for people.
impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amqp(urls) => urls.fmt(f),
            Self::Embedded => f.write_str("embedded"),
        }
    }
}

/// The nodes of one broker, in the order in which they are tried: at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmqpUrls(Vec<Secret>);

impl AmqpUrls {
    /// Reads `AMQP_URL`: one or more `amqp(s)://` URLs, comma-separated.
    pub(super) fn parse(text: &str) -> Checked<Self> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let count = parts.len();
        let numbered = |index: usize, problem: Problem| match count {
            1 => problem,
            _ => Problem::new(
                format!("URL {} of {count} {}", index + 1, problem.message),
                problem.fix,
            ),
        };
        parts
            .iter()
            .enumerate()
            .map(|(index, part)| amqp(part).map_err(|problem| numbered(index, problem)))
            .collect::<Checked<Vec<Secret>>>()
            .map(Self)
    }

    /// The URLs.
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter()
    }
}

/// Without users and passwords, for people.
impl fmt::Display for AmqpUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = self.iter().map(Secret::redacted).collect();
        f.write_str(&shown.join(", "))
    }
}

fn amqp(text: &str) -> Checked<Secret> {
    if text.is_empty() {
        return Err(Problem::new(
            "is empty",
            "remove the comma that is too many",
        ));
    }
    let url = url_of(text, &["amqp", "amqps"], AMQP_EXAMPLE)?;
    let shown = Secret::new(text).redacted();
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Problem::new("names no host", AMQP_EXAMPLE));
    }
    // The client's URI parser knows domain names only and would connect to localhost instead.
    if matches!(url.host(), Some(url::Host::Ipv6(_))) {
        return Err(Problem::new(
            format!("({shown}) holds an IPv6 address, which the AMQP client cannot read"),
            "give the node a host name",
        ));
    }
    if let Some(name) = wrong_parameter(&url) {
        return Err(Problem::new(
            format!("({shown}) has a parameter that the AMQP client cannot read: `{name}`"),
            format!("correct `{name}`, or leave it out"),
        ));
    }
    // To RabbitMQ a lone slash is the virtual host with the empty name, which nobody means.
    if url.path() == "/" {
        let mut url = url;
        url.set_path("");
        return Ok(Secret::new(url.as_str()));
    }
    Ok(Secret::new(text))
}

/// The client refuses such a URL only when it connects, where that looks like an outage.
fn wrong_parameter(url: &Url) -> Option<&'static str> {
    const NUMBERS: [(&str, u64); 4] = [
        ("frame_max", u32::MAX as u64),
        ("channel_max", u16::MAX as u64),
        ("heartbeat", u16::MAX as u64),
        ("connection_timeout", u64::MAX),
    ];
    const MECHANISMS: [&str; 5] = [
        "amqplain",
        "anonymous",
        "external",
        "plain",
        "rabbit-cr-demo",
    ];
    url.query_pairs().find_map(|(name, value)| {
        if name == "auth_mechanism" {
            let known = MECHANISMS.contains(&value.to_lowercase().as_str());
            return (!known).then_some("auth_mechanism");
        }
        let (name, max) = NUMBERS.into_iter().find(|(number, _)| *number == name)?;
        let fits = value.parse().is_ok_and(|value: u64| value <= max);
        (!fits).then_some(name)
    })
}

/// Reads a URL with one of these schemes. No error quotes any of it.
pub(super) fn url_of(text: &str, schemes: &[&str], example: &str) -> Checked<Url> {
    if !has_scheme(text, schemes) {
        let wanted: Vec<String> = schemes.iter().map(|s| format!("{s}://")).collect();
        let message = format!("must start with {}", wanted.join(" or "));
        return Err(Problem::new(message, example));
    }
    let encode = || {
        format!(
            "percent-encode special characters in user and password (`@` is %40, `/` is %2F, \
             `#` is %23, `?` is %3F); {example}"
        )
    };
    // The parser would quietly drop line breaks and tabs.
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Problem::new(
            "holds white space or a control character",
            encode(),
        ));
    }
    let url = Url::parse(text).map_err(|e| Problem::new(format!("is no URL: {e}"), encode()))?;
    if misread(&url) {
        let message = "has a `/`, `?`, `#` or `@` in a place that makes it ambiguous";
        return Err(Problem::new(message, encode()));
    }
    Ok(url)
}

fn has_scheme(text: &str, schemes: &[&str]) -> bool {
    text.split_once("://")
        .is_some_and(|(scheme, _)| schemes.contains(&scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database_error(text: &str) -> String {
        DatabaseUrl::parse(text).unwrap_err().message
    }

    fn amqp_error(text: &str) -> String {
        AmqpUrls::parse(text).unwrap_err().message
    }

    #[test]
    fn databases_are_postgres_or_a_sqlite_file() {
        for good in [
            "postgres://localhost/longshore",
            "postgresql://u:p%40ss@db:5432/longshore?sslmode=require",
            "postgres:///longshore?host=/run/postgresql",
            "postgres://localhost",
        ] {
            assert_eq!(
                DatabaseUrl::parse(good),
                Ok(DatabaseUrl::Postgres(good.into()))
            );
        }
        for (url, path) in [
            ("sqlite://a b/c.db", "a b/c.db"),
            ("sqlite:///var/c.db", "/var/c.db"),
            ("sqlite:c.db", "c.db"),
        ] {
            assert_eq!(
                DatabaseUrl::parse(url),
                Ok(DatabaseUrl::Sqlite(path.into()))
            );
        }
    }

    #[test]
    fn what_is_no_database_is_explained() {
        let scheme = "must start with postgres:// or sqlite://";
        let ambiguous = "has a `/`, `?`, `#` or `@` in a place that makes it ambiguous";
        for (text, message) in [
            ("localhost/longshore", scheme),
            ("mysql://u:p@db/x", scheme),
            ("postgres:longshore", scheme),
            ("postgres://u:p@db:port/x", "is no URL: invalid port number"),
            (
                "postgres://u:p@db/x y",
                "holds white space or a control character",
            ),
            ("postgres://u:1#2@db/x", ambiguous),
            ("postgres://u:1/2@db/x", ambiguous),
            ("postgres://db/a/b", "names more than one database"),
            ("sqlite://", "names no file"),
            (
                "sqlite::memory:",
                "is a database in memory, which would lose jobs",
            ),
            ("sqlite://x?mode=ro", "takes no parameters after the file"),
        ] {
            assert_eq!(database_error(text), message, "{text}");
        }
    }

    #[test]
    fn a_broker_has_one_or_more_nodes() {
        let urls = AmqpUrls::parse("amqp://u:p@a:5672/jobs, amqps://b ,amqp://127.0.0.1").unwrap();
        let nodes: Vec<&str> = urls.iter().map(Secret::expose).collect();
        assert_eq!(
            nodes,
            ["amqp://u:p@a:5672/jobs", "amqps://b", "amqp://127.0.0.1"]
        );
        assert_eq!(
            urls.to_string(),
            "amqp://a:5672/jobs, amqps://b, amqp://127.0.0.1"
        );
    }

    #[test]
    fn a_trailing_slash_does_not_name_the_empty_virtual_host() {
        for (given, meant) in [
            ("amqp://u:p@a:5672/", "amqp://u:p@a:5672"),
            ("amqp://a/?heartbeat=5", "amqp://a?heartbeat=5"),
            ("amqp://a/%2F", "amqp://a/%2F"),
            (
                "amqp://a/x?connection_timeout=90000&auth_mechanism=EXTERNAL",
                "amqp://a/x?connection_timeout=90000&auth_mechanism=EXTERNAL",
            ),
        ] {
            let urls = AmqpUrls::parse(given).unwrap();
            assert_eq!(urls.iter().next().unwrap().expose(), meant);
        }
    }

    #[test]
    fn what_is_no_broker_is_explained_and_counted() {
        for (text, message) in [
            ("http://a", "must start with amqp:// or amqps://"),
            (
                "amqp://a,b",
                "URL 2 of 2 must start with amqp:// or amqps://",
            ),
            ("amqp://a,,amqp://b", "URL 2 of 3 is empty"),
            (
                "amqp://a,amqp://u:p@b:x",
                "URL 2 of 2 is no URL: invalid port number",
            ),
            ("amqp://", "names no host"),
            (
                "amqp://u:p@[::1]:5672",
                "(amqp://[::1]:5672) holds an IPv6 address, which the AMQP client cannot read",
            ),
            (
                "amqp://u:p@b?heartbeat=soon",
                "(amqp://b) has a parameter that the AMQP client cannot read: `heartbeat`",
            ),
            (
                "amqp://b?channel_max=65536",
                "(amqp://b) has a parameter that the AMQP client cannot read: `channel_max`",
            ),
            (
                "amqp://b?auth_mechanism=magic",
                "(amqp://b) has a parameter that the AMQP client cannot read: `auth_mechanism`",
            ),
        ] {
            assert_eq!(amqp_error(text), message, "{text}");
        }
    }
}
