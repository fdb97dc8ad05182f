use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::reply::{Reply, ReplyReader};
use super::trouble::{Fault, Stage, Trouble};

/// The longest reply read, in bytes: a peer may send without end.
const MAX_REPLY: u64 = 64 * 1024;

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// Commands and replies over one connection, in lock-step.
///
/// lettre's `AsyncSmtpConnection` is not used, because from outside it the class table cannot be
/// kept: it fuses greeting and EHLO, takes a closed connection and a junk reply for the same
/// error, reports a refusal whose text is not UTF-8 as a broken network, and keeps what was sent
/// in the clear before STARTTLS as the first reply after it.
pub(super) struct Dialogue {
    stream: BufReader<Box<dyn Stream>>,
    limit: Duration,
}

impl fmt::Debug for Dialogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialogue").finish_non_exhaustive()
    }
}

impl Dialogue {
    /// `limit` is how long each reply may take.
    pub(super) fn new(stream: Box<dyn Stream>, limit: Duration) -> Self {
        Self {
            stream: BufReader::new(stream),
            limit,
        }
    }

    /// The stream, to be encrypted.
    ///
    /// # Errors
    /// The server sent more than it was asked for. Read on in the clear, it would pass for a
    /// reply from inside TLS (response injection).
    pub(super) fn into_stream(self) -> Result<Box<dyn Stream>, Trouble> {
        if self.stream.buffer().is_empty() {
            Ok(self.stream.into_inner())
        } else {
            let fault = Fault::Garbage("unasked data before the TLS handshake".to_owned());
            Err(Trouble::new(Stage::Tls, fault))
        }
    }

    /// Sends a command and reads its reply, which must be a 2yz.
    pub(super) async fn ask(&mut self, stage: Stage, command: &str) -> Result<Reply, Trouble> {
        let reply = self.exchange(stage, command).await?;
        expect(stage, reply, |code| code / 100 == 2)
    }

    /// Sends a command and reads its reply, which must be this code.
    pub(super) async fn ask_for(
        &mut self,
        stage: Stage,
        command: &str,
        code: u16,
    ) -> Result<Reply, Trouble> {
        let reply = self.exchange(stage, command).await?;
        expect(stage, reply, |got| got == code)
    }

    /// Reads what the server says first.
    pub(super) async fn greeting(&mut self) -> Result<Reply, Trouble> {
        let limit = self.limit;
        let reply = within(Stage::Greeting, limit, self.read()).await?;
        expect(Stage::Greeting, reply, |code| code == 220)
    }

    /// Sends the content, after a 354, and reads the answer that takes or refuses the mail.
    pub(super) async fn content(
        &mut self,
        content: &[u8],
        limit: Duration,
    ) -> Result<Reply, Trouble> {
        let wire = on_the_wire(content);
        let sending = async {
            match self.write(&wire).await {
                Ok(()) => self.read().await,
                // A server that refuses half-way says so and closes: the reply explains more.
                Err(cut) => self.read().await.map_err(|_| cut),
            }
        };
        let reply = within(Stage::Content, limit, sending).await?;
        expect(Stage::Content, reply, |code| code / 100 == 2)
    }

    async fn exchange(&mut self, stage: Stage, command: &str) -> Result<Reply, Trouble> {
        let line = format!("{command}\r\n");
        let limit = self.limit;
        let exchange = async {
            self.write(line.as_bytes()).await?;
            self.read().await
        };
        within(stage, limit, exchange).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.stream.write_all(bytes).await.map_err(Fault::Lost)?;
        self.stream.flush().await.map_err(Fault::Lost)
    }

    async fn read(&mut self) -> Result<Reply, Fault> {
        let mut reader = ReplyReader::default();
        let mut input = (&mut self.stream).take(MAX_REPLY);
        let mut line = Vec::new();
        loop {
            line.clear();
            input
                .read_until(b'\n', &mut line)
                .await
                .map_err(Fault::Lost)?;
            if !line.ends_with(b"\n") {
                return Err(match input.limit() {
                    0 => Fault::Garbage("a reply without end".to_owned()),
                    _ => Fault::Lost(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the server closed the connection",
                    )),
                });
            }
            match reader.line(&line) {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(_) => return Err(Fault::Garbage("the answer is not SMTP".to_owned())),
            }
        }
    }
}

async fn within(
    stage: Stage,
    limit: Duration,
    work: impl Future<Output = Result<Reply, Fault>>,
) -> Result<Reply, Trouble> {
    let result = timeout(limit, work)
        .await
        .unwrap_or(Err(Fault::TimedOut(limit)));
    result.map_err(|fault| Trouble::new(stage, fault))
}

fn expect(stage: Stage, reply: Reply, wanted: impl Fn(u16) -> bool) -> Result<Reply, Trouble> {
    match reply.code {
        code if wanted(code) => Ok(reply),
        400..600 => Err(Trouble::new(stage, Fault::Refused(reply))),
        _ => Err(Trouble::new(
            stage,
            Fault::Garbage(format!("an unexpected `{reply}`")),
        )),
    }
}

/// Lines end in CRLF and nothing else does (a bare CR or LF is how mails are smuggled: RFC 5321,
/// section 2.3.8), a leading dot is doubled (section 4.5.2), and a lone dot ends it.
fn on_the_wire(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + content.len() / 32 + 5);
    let mut rest = content;
    while !rest.is_empty() {
        let end = rest
            .iter()
            .position(|b| matches!(b, b'\r' | b'\n'))
            .unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
        wire.extend_from_slice(b"\r\n");
        rest = match after {
            [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
            [] => after,
        };
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dots_and_line_ends_are_made_safe() {
        for (content, wire) in [
            ("", ".\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            ("a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\n.\nb\r.\rc", "a\r\n..\r\nb\r\n..\r\nc\r\n.\r\n"),
            ("a\r\n\r\n.b", "a\r\n\r\n..b\r\n.\r\n"),
        ] {
            assert_eq!(
                String::from_utf8(on_the_wire(content.as_bytes())).unwrap(),
                wire,
                "{content:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_in_a_mail_ends_it_early(content in "[.\r\na]{0,40}") {
            let wire = String::from_utf8(on_the_wire(content.as_bytes())).unwrap();
            let lines: Vec<&str> = wire.strip_suffix("\r\n").unwrap().split("\r\n").collect();
            prop_assert!(lines.iter().all(|line| !line.contains(['\r', '\n'])));
            let dots: Vec<usize> = (0..lines.len()).filter(|i| lines[*i] == ".").collect();
            prop_assert_eq!(dots, vec![lines.len() - 1]);
        }
    }
}
