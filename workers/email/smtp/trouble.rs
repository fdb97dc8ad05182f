use std::fmt;
use std::io;
use std::time::Duration;

use longshore::job::Failure;

use super::reply::Reply;

/// How soon after greylisting a mail may come again.
const GREYLIST_DELAY: Duration = Duration::from_secs(60);
/// How soon a mail asks again for a connection.
const BUSY_DELAY: Duration = Duration::from_secs(2);

/// How far a mail had come. The order is the order of the dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Waiting for one of the pool's connections.
    Pool,
    /// Resolving the name and connecting.
    Connect,
    /// The TLS handshake, or STARTTLS before it.
    Tls,
    /// The server's first words.
    Greeting,
    /// EHLO.
    Ehlo,
    /// AUTH.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, until the server says 354.
    Data,
    /// The content, and the answer to its end.
    Content,
}

impl Stage {
    /// From DATA on a lost answer may mean a delivered mail, and a mail that the server chokes
    /// on may be the cause.
    fn handed_over(self) -> bool {
        self >= Self::Data
    }

    /// Up to here the server speaks about the client, not about the mail.
    fn is_setup(self) -> bool {
        self < Self::Mail
    }

    /// The code of a refusal before the mail itself came up.
    fn code(self) -> &'static str {
        match self {
            Self::Pool => "smtp_busy",
            Self::Connect => "smtp_connect",
            Self::Tls => "smtp_tls",
            Self::Greeting => "smtp_greeting",
            Self::Ehlo => "smtp_ehlo",
            Self::Auth => "smtp_auth",
            Self::Mail | Self::Rcpt | Self::Data | Self::Content => "smtp_refused",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pool => "waiting for a connection",
            Self::Connect => "connecting",
            Self::Tls => "TLS",
            Self::Greeting => "the greeting",
            Self::Ehlo => "EHLO",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL FROM",
            Self::Rcpt => "RCPT TO",
            Self::Data => "DATA",
            Self::Content => "the end of the content",
        })
    }
}

/// What went wrong.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The server said no.
    Refused(Reply),
    /// The connection failed or ended.
    Lost(io::Error),
    /// No answer within this time.
    TimedOut(Duration),
    /// Every answer came in time, but not all of them before DATA within this time.
    Dawdled(Duration),
    /// The answer was not SMTP, or no answer to what was asked.
    Garbage(String),
    /// The server cannot do what the settings ask for.
    Unsupported(&'static str),
    /// The mail has addresses that this server cannot take.
    NeedsUtf8,
}

/// Why a mail was not sent, and where.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) stage: Stage,
    pub(crate) fault: Fault,
    /// The recipient that it is about, at [`Stage::Rcpt`].
    pub(crate) recipient: Option<String>,
}

impl Trouble {
    pub(super) fn new(stage: Stage, fault: Fault) -> Self {
        Self {
            stage,
            fault,
            recipient: None,
        }
    }

    /// True if the dialogue can go on: the server refused this mail and waits for the next.
    pub(super) fn leaves_connection_usable(&self) -> bool {
        match &self.fault {
            Fault::Refused(reply) => reply.code != 421 && !self.stage.is_setup(),
            Fault::NeedsUtf8 => true,
            _ => false,
        }
    }

    /// True if an idle connection that had died explains it: nothing of the mail was taken.
    pub(super) fn is_stale_connection(&self) -> bool {
        self.stage == Stage::Mail && !self.leaves_connection_usable()
    }

    /// What becomes of the job: the table in [`crate::email`'s](super::super) documentation.
    pub(crate) fn failure(&self, server: &str) -> Failure {
        let message = format!("{self} ({server})");
        let cut_off = |code| match self.stage.handed_over() {
            true => Failure::retry(code, &message),
            false => Failure::unavailable(code, &message),
        };
        match &self.fault {
            Fault::Refused(reply) => self.refused(reply, &message),
            Fault::Lost(_) if matches!(self.stage, Stage::Connect | Stage::Tls) => {
                Failure::unavailable(self.stage.code(), message)
            }
            Fault::Lost(_) => cut_off("smtp_cut"),
            // All of them are at work: a slow server is none that is down.
            Fault::TimedOut(_) if self.stage == Stage::Pool => {
                Failure::waiting(self.stage.code(), message, BUSY_DELAY)
            }
            Fault::TimedOut(_) | Fault::Dawdled(_) => cut_off("smtp_timeout"),
            Fault::Garbage(_) => cut_off("smtp_protocol"),
            Fault::Unsupported(_) => Failure::unavailable(self.stage.code(), message),
            Fault::NeedsUtf8 => Failure::permanent("smtp_utf8", message),
        }
    }

    fn refused(&self, reply: &Reply, message: &str) -> Failure {
        let code = format!("smtp_{}", reply.code);
        match reply.code {
            421 => Failure::unavailable(&code, message),
            _ if self.stage.is_setup() => Failure::unavailable(self.stage.code(), message),
            // RFC 4954, section 6, and RFC 3207, section 4: log in, or encrypt, first. It is
            // about this installation's settings and would be the end of every mail.
            530 => Failure::unavailable(&code, message),
            400..500 if reply.greylists() => Failure::retry(&code, message).after(GREYLIST_DELAY),
            400..500 => Failure::retry(&code, message),
            _ => Failure::permanent(&code, message),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.stage)?;
        if let Some(recipient) = &self.recipient {
            write!(f, " <{recipient}>")?;
        }
        match &self.fault {
            Fault::Refused(reply) => write!(f, ": {reply}"),
            Fault::Lost(error) => write!(f, ": {error}"),
            Fault::TimedOut(limit) => write!(f, ": nothing within {limit:?}"),
            Fault::Dawdled(limit) => write!(f, ": not reached within {limit:?} in all"),
            Fault::Garbage(what) => write!(f, ": {what}"),
            Fault::Unsupported(what) => write!(f, ": {what}"),
            Fault::NeedsUtf8 => write!(
                f,
                ": the mail has addresses outside ASCII and the server does not offer SMTPUTF8"
            ),
        }
    }
}
