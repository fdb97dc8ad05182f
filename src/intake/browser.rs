use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

use super::{Problem, problems};

/// Keeps the pages of other sites away from an intake that asks for no key: a browser on this
/// machine reaches loopback addresses too. A name of the site's own that leads here (DNS
/// rebinding) shows in `Host`; a request across sites shows in `Origin`, which browsers send
/// with every POST.
///
/// What a reverse proxy on this machine sends on is no call from this machine either; that it was
/// sent on shows in the headers that proxies add.
pub(super) fn guard(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(name) = headers.keys().find(|name| is_forwarding(name)) {
        return Err(foreign(&format!("`{name}` tells of a proxy")));
    }
    let host = single(headers, header::HOST)?;
    let origin = single(headers, header::ORIGIN)?;
    if host.is_some_and(|host| !is_local(host)) {
        return Err(foreign("`Host` names no loopback address"));
    }
    // Only pages that this intake served itself.
    let own = |origin: &str| {
        let rest = origin.split_once("://").map(|(_, rest)| rest);
        rest.is_some_and(|rest| host.is_some_and(|host| rest.eq_ignore_ascii_case(host)))
    };
    match origin {
        Some(origin) if !own(origin) => Err(foreign("`Origin` is another site")),
        _ => Ok(()),
    }
}

fn is_forwarding(name: &header::HeaderName) -> bool {
    let name = name.as_str();
    name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

fn single(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&str>, Problem> {
    let mut given = headers.get_all(name).iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => match only.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(foreign("a header is not text")),
        },
        _ => Err(foreign("`Host` and `Origin` may come once")),
    }
}

/// `localhost`, a name under it, or a loopback address, with any port.
fn is_local(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || name.ends_with(".localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

fn foreign(why: &str) -> Problem {
    let detail = format!(
        "without API keys only programs on this machine may call, no web pages and nobody behind \
         a proxy: {why}; make a key with `longshore keys create NAME`"
    );
    Problem::new(problems::FOREIGN_ORIGIN, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(host: Option<&str>, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        }
        guard(&headers).is_err()
    }

    #[test]
    fn only_this_machine_and_its_own_pages_pass() {
        for (host, origin) in [
            (None, None),
            (Some("localhost"), None),
            (Some("LOCALHOST:7070"), None),
            (Some("longshore.localhost:7070"), None),
            (Some("127.0.0.1:7070"), None),
            (Some("127.1.2.3"), None),
            (Some("[::1]:7070"), None),
            (Some("localhost:7070"), Some("http://localhost:7070")),
        ] {
            assert!(!guarded(host, origin), "{host:?} {origin:?}");
        }
        for (host, origin) in [
            (Some("evil.example"), None),
            (Some("127.0.0.1.evil.example:7070"), None),
            (Some("localhost.evil.example"), None),
            (Some("192.168.1.4:7070"), None),
            (Some("0.0.0.0:7070"), None),
            (Some("not a host"), None),
            (Some("localhost:7070"), Some("https://evil.example")),
            (Some("localhost:7070"), Some("http://localhost:3000")),
            (Some("localhost:7070"), Some("null")),
            (None, Some("http://localhost:7070")),
        ] {
            assert!(guarded(host, origin), "{host:?} {origin:?}");
        }
    }

    #[test]
    fn what_a_proxy_sends_on_does_not_pass() {
        for name in [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-real-ip",
        ] {
            let mut headers = HeaderMap::new();
            headers.append(header::HOST, "localhost".parse().unwrap());
            assert!(guard(&headers).is_ok());
            headers.append(name, "127.0.0.1".parse().unwrap());
            let refused = guard(&headers).unwrap_err().body();
            assert_eq!(refused["code"], "foreign_origin");
            assert!(
                refused["detail"].as_str().unwrap().contains(name),
                "{refused}"
            );
        }
    }

    #[test]
    fn two_hosts_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "localhost".parse().unwrap());
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(guard(&headers).is_err());
    }
}
