use std::fmt;

/// A server's answer to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Three digits, 200 to 599.
    pub(crate) code: u16,
    /// The texts after the code, one a line.
    pub(crate) lines: Vec<String>,
}

impl Reply {
    /// The enhanced status code that the text begins with, such as `4.7.1` (RFC 2034).
    pub(crate) fn enhanced(&self) -> Option<&str> {
        let word = self.lines.first()?.split(' ').next()?;
        let numbers: Vec<&str> = word.split('.').collect();
        let number = |s: &&str| (1..=3).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
        let class = numbers.first().and_then(|s| s.parse::<u16>().ok());
        (numbers.len() == 3 && numbers.iter().all(number) && class == Some(self.code / 100))
            .then_some(word)
    }

    /// True if the server asks to come back in a minute or so: it wants to see whether this
    /// client retries at all (RFC 6647).
    pub(crate) fn greylists(&self) -> bool {
        let text = self.to_string().to_ascii_lowercase();
        let says_so = [
            "greylist",
            "graylist",
            "grey-list",
            "gray-list",
            "grey list",
            "gray list",
        ]
        .iter()
        .any(|word| text.contains(word));
        let temporary = self.code / 100 == 4 && self.code != 421;
        temporary
            && (self.enhanced() == Some("4.7.1") || (matches!(self.code, 450 | 451) && says_so))
    }

    /// The same with every occurrence of these texts struck out.
    pub(crate) fn without(mut self, secrets: &[String]) -> Self {
        for line in &mut self.lines {
            for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
                *line = line.replace(secret.as_str(), "***");
            }
        }
        self
    }
}

impl fmt::Display for Reply {
    /// Code and text on one line; an enhanced code that every line repeats is shown once.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        for (index, line) in self.lines.iter().enumerate() {
            let repeated = self.enhanced().filter(|_| index > 0);
            let text = repeated
                .and_then(|code| line.strip_prefix(code))
                .filter(|rest| rest.starts_with(' '))
                .unwrap_or(line)
                .trim();
            if !text.is_empty() {
                write!(f, " {text}")?;
            }
        }
        Ok(())
    }
}

/// Puts a reply together from its lines (RFC 5321, section 4.2.1).
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    code: Option<u16>,
    lines: Vec<String>,
}

/// Not a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbage;

impl ReplyReader {
    /// Takes the next line; the reply if that was its last one.
    ///
    /// Lenient where servers are: a line may end in LF alone, and a text outside UTF-8 is shown
    /// as well as can be. The code is what counts, and a `550` with a Latin-1 text is a 550.
    pub(super) fn line(&mut self, raw: &[u8]) -> Result<Option<Reply>, Garbage> {
        let text = raw.strip_suffix(b"\n").unwrap_or(raw);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let (digits, rest) = text.split_at_checked(3).ok_or(Garbage)?;
        if !matches!(digits, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9']) {
            return Err(Garbage);
        }
        let code = digits
            .iter()
            .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        if self.code.is_some_and(|first| first != code) {
            return Err(Garbage);
        }
        self.code = Some(code);
        let (last, text) = match rest {
            [] => (true, rest),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(Garbage),
        };
        self.lines.push(printable(text));
        Ok(last.then(|| Reply {
            code,
            lines: std::mem::take(&mut self.lines),
        }))
    }
}

fn printable(text: &[u8]) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    String::from_utf8_lossy(text).chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Result<Option<Reply>, Garbage> {
        let mut reader = ReplyReader::default();
        let mut result = Ok(None);
        for line in text.split_inclusive(|b| *b == b'\n') {
            result = reader.line(line);
        }
        result
    }

    fn reply(text: &str) -> Reply {
        read(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn replies_are_read_as_servers_write_them() {
        for (text, code, shown) in [
            ("250 OK\r\n", 250, "250 OK"),
            ("250\r\n", 250, "250"),
            ("354 go\n", 354, "354 go"),
            (
                "550-5.1.1 no\r\n550 5.1.1 such user\r\n",
                550,
                "550 5.1.1 no such user",
            ),
            (
                "550-5.7.2 a\r\n550 5.7.25 b\r\n",
                550,
                "550 5.7.2 a 5.7.25 b",
            ),
        ] {
            let reply = reply(text);
            assert_eq!((reply.code, reply.to_string().as_str()), (code, shown));
        }
        let latin1 = read(b"550 Empf\xe4nger unbekannt\0\r\n").unwrap().unwrap();
        assert_eq!(latin1.to_string(), "550 Empf\u{fffd}nger unbekannt");
    }

    #[test]
    fn what_is_not_a_reply_is_garbage() {
        for text in [
            "HTTP/1.1 400\r\n",
            "25\r\n",
            "650 x\r\n",
            "250x\r\n",
            "250-a\r\n251 b\r\n",
            "\r\n",
        ] {
            assert_eq!(read(text.as_bytes()), Err(Garbage), "{text:?}");
        }
        assert_eq!(read(b"250-more\r\n"), Ok(None));
    }

    #[test]
    fn enhanced_codes_agree_with_the_code() {
        assert_eq!(reply("451 4.7.1 later\r\n").enhanced(), Some("4.7.1"));
        assert_eq!(reply("550 4.7.1 later\r\n").enhanced(), None);
        assert_eq!(reply("550 1.2.3.4 is blocked\r\n").enhanced(), None);
    }

    #[test]
    fn greylisting_is_recognised() {
        for (text, expected) in [
            ("451 4.7.1 Please try again later\r\n", true),
            ("450 4.2.0 Greylisted, see postgrey\r\n", true),
            ("451 You have been graylisted\r\n", true),
            ("452 Greylisting is on; disk full\r\n", false),
            ("451 4.3.0 local error\r\n", false),
            ("421 4.7.1 bye\r\n", false),
            ("550 greylisted\r\n", false),
        ] {
            assert_eq!(reply(text).greylists(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(Some(reply)) = read(&bytes) {
                let _ = (reply.to_string(), reply.greylists());
            }
        }
    }
}
