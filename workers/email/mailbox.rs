use lettre::Address;
use lettre::message::Mailbox;

/// In bytes: it must fit on a header line (RFC 5322, section 2.1.1).
const MAX_MAILBOX: usize = 900;

/// Reads one mailbox (RFC 5322, section 3.4: `a@b.example` or `Name <a@b.example>`).
///
/// The domain comes back in ASCII (RFC 5891), so that only a local part outside ASCII needs a
/// server with SMTPUTF8.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn parse(text: &str) -> Result<Mailbox, String> {
    if text.chars().any(char::is_control) {
        return Err("a mailbox holds no line breaks or other control characters".to_owned());
    }
    if text.len() > MAX_MAILBOX {
        return Err(format!("longer than {MAX_MAILBOX} bytes"));
    }
    let mailbox: Mailbox = text.parse().map_err(|error| {
        format!("`{text}` is not a mailbox ({error}); write `ada@example.com` or `Ada <ada@example.com>`")
    })?;
    // A quoted local part may hold what ends an SMTP path or argument; nobody's address needs it.
    let unsafe_in_path = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | '\\');
    if mailbox.email.user().contains(unsafe_in_path) {
        return Err("a quoted name before the `@` is not taken".to_owned());
    }
    let address = in_ascii_domain(&mailbox.email)
        .ok_or_else(|| format!("`{}` is not a domain", mailbox.email.domain()))?;
    let name = mailbox.name.filter(|name| !name.trim().is_empty());
    Ok(Mailbox::new(name, address))
}

fn in_ascii_domain(address: &Address) -> Option<Address> {
    if address.domain().is_ascii() {
        return Some(address.clone());
    }
    match url::Host::parse(address.domain()).ok()? {
        url::Host::Domain(domain) => Address::new(address.user(), domain).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_as_people_write_them() {
        for (text, name, address) in [
            ("ada@example.com", None, "ada@example.com"),
            (" <ada@example.com> ", None, "ada@example.com"),
            ("Ada <ada@example.com>", Some("Ada"), "ada@example.com"),
            ("\"Lovelace, Ada\" <a@b.c>", Some("Lovelace, Ada"), "a@b.c"),
            (
                "Zoë Müller <z@müller.de>",
                Some("Zoë Müller"),
                "z@xn--mller-kva.de",
            ),
            ("zoë@example.com", None, "zoë@example.com"),
            ("longshore@localhost", None, "longshore@localhost"),
        ] {
            let mailbox = parse(text).unwrap();
            assert_eq!(mailbox.name.as_deref(), name, "{text}");
            assert_eq!(mailbox.email.to_string(), address, "{text}");
        }
    }

    #[test]
    fn what_is_no_single_mailbox_is_refused() {
        for text in [
            "",
            "ada",
            "ada@",
            "@example.com",
            "a@b.c, d@e.f",
            "a@b.c d@e.f",
            "a@b.c>",
            "Ada <a@b.c> x",
            "a@b.c\r\nRCPT TO:<d@e.f>",
            "Ada\nBcc: d@e.f <a@b.c>",
            "\"a b\"@c.d",
            "\"a>\"@c.d",
            "a@exa mple.com",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
