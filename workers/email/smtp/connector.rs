use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::settings::{Login, SmtpServer, TlsMode};
use super::dialogue::{Dialogue, Stream};
use super::limits::Limits;
use super::session::{Offers, Session};
use super::trouble::{Fault, Stage, Trouble};

/// Opens connections and takes them to where a mail can begin.
pub(crate) struct Connector {
    server: SmtpServer,
    limits: Limits,
    tls: TlsConnector,
    /// So that one warning is enough.
    warned: AtomicBool,
}

impl Connector {
    /// Trusts servers whose certificates lead to `roots`.
    ///
    /// # Errors
    /// The TLS library does not work.
    pub(super) fn new(
        server: SmtpServer,
        limits: Limits,
        roots: RootCertStore,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            server,
            limits,
            tls: TlsConnector::from(Arc::new(config)),
            warned: AtomicBool::new(false),
        })
    }

    async fn open(&self) -> Result<Session, Trouble> {
        let tcp = self.connect().await?;
        let hello = format!("EHLO {}", own_name(&tcp));
        let far = !tcp.peer_addr().is_ok_and(|peer| peer.ip().is_loopback());
        let mut encrypted = self.server.tls == TlsMode::Implicit;
        let stream: Box<dyn Stream> = Box::new(tcp);
        let stream = if encrypted {
            self.encrypt(stream).await?
        } else {
            stream
        };
        let mut dialogue = Dialogue::new(stream, self.limits.reply);
        dialogue.greeting().await?;
        let mut offers = Offers::read(&dialogue.ask(Stage::Ehlo, &hello).await?);
        if self.starts_tls(&offers)? {
            dialogue.ask(Stage::Tls, "STARTTLS").await?;
            let stream = self.encrypt(dialogue.into_stream()?).await?;
            dialogue = Dialogue::new(stream, self.limits.reply);
            encrypted = true;
            // RFC 3207, section 4.2: what was offered in the clear counts no more.
            offers = Offers::read(&dialogue.ask(Stage::Ehlo, &hello).await?);
        }
        if let Some(login) = &self.server.login {
            if far && !encrypted && !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    smtp.host = self.server.host,
                    "the SMTP password goes over the network unencrypted; say tls=required in SMTP_URL"
                );
            }
            log_in(&mut dialogue, &offers, login).await?;
        }
        Ok(Session::new(dialogue, offers))
    }

    async fn connect(&self) -> Result<TcpStream, Trouble> {
        let address = (self.server.host.as_str(), self.server.port);
        let tcp = match timeout(self.limits.connect, TcpStream::connect(address)).await {
            Ok(connected) => connected.map_err(|error| lost(Stage::Connect, error))?,
            Err(_) => {
                return Err(Trouble::new(
                    Stage::Connect,
                    Fault::TimedOut(self.limits.connect),
                ));
            }
        };
        // Commands are small and each waits for its answer.
        tcp.set_nodelay(true)
            .map_err(|error| lost(Stage::Connect, error))?;
        Ok(tcp)
    }

    async fn encrypt(&self, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, Trouble> {
        let name = ServerName::try_from(self.server.host.clone())
            .map_err(|error| lost(Stage::Tls, io::Error::other(error)))?;
        match timeout(self.limits.connect, self.tls.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(lost(Stage::Tls, error)),
            Err(_) => Err(Trouble::new(
                Stage::Tls,
                Fault::TimedOut(self.limits.connect),
            )),
        }
    }

    fn starts_tls(&self, offers: &Offers) -> Result<bool, Trouble> {
        match self.server.tls {
            TlsMode::None | TlsMode::Implicit => Ok(false),
            TlsMode::Opportunistic => Ok(offers.has("STARTTLS")),
            TlsMode::Required if offers.has("STARTTLS") => Ok(true),
            TlsMode::Required => Err(Trouble::new(
                Stage::Tls,
                Fault::Unsupported(
                    "the server does not offer STARTTLS, and SMTP_URL says tls=required",
                ),
            )),
        }
    }
}

impl Manager for Connector {
    type Type = Session;
    type Error = Trouble;

    async fn create(&self) -> Result<Session, Trouble> {
        self.open().await
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<Trouble> {
        if session.revive(&self.limits).await {
            Ok(())
        } else {
            Err(RecycleError::message("worn out or dead"))
        }
    }
}

/// AUTH PLAIN (RFC 4616), else AUTH LOGIN. What the server answers is shown without the
/// password, which some servers echo.
async fn log_in(dialogue: &mut Dialogue, offers: &Offers, login: &Login) -> Result<(), Trouble> {
    let (user, password) = (
        STANDARD.encode(&login.user),
        STANDARD.encode(&login.password),
    );
    let plain = STANDARD.encode(format!("\0{}\0{}", login.user, login.password));
    let result = if offers.authenticates_by("PLAIN") {
        dialogue
            .ask(Stage::Auth, &format!("AUTH PLAIN {plain}"))
            .await
    } else if offers.authenticates_by("LOGIN") {
        log_in_by_prompts(dialogue, &user, &password).await
    } else {
        let fault = Fault::Unsupported(
            "SMTP_URL has a user, and the server offers neither AUTH PLAIN nor AUTH LOGIN",
        );
        return Err(Trouble::new(Stage::Auth, fault));
    };
    let secrets = [plain, password, login.password.clone()];
    match result {
        Ok(_) => Ok(()),
        Err(Trouble {
            fault: Fault::Refused(reply),
            ..
        }) => Err(Trouble::new(
            Stage::Auth,
            Fault::Refused(reply.without(&secrets)),
        )),
        Err(Trouble {
            fault: Fault::Garbage(_),
            ..
        }) => Err(Trouble::new(
            Stage::Auth,
            Fault::Garbage("the answer is not SMTP".to_owned()),
        )),
        Err(other) => Err(other),
    }
}

async fn log_in_by_prompts(
    dialogue: &mut Dialogue,
    user: &str,
    password: &str,
) -> Result<super::Reply, Trouble> {
    dialogue.ask_for(Stage::Auth, "AUTH LOGIN", 334).await?;
    dialogue.ask_for(Stage::Auth, user, 334).await?;
    dialogue.ask(Stage::Auth, password).await
}

fn lost(stage: Stage, error: io::Error) -> Trouble {
    Trouble::new(stage, Fault::Lost(error))
}

/// This host's name for EHLO; an address literal if it has none that servers take (RFC 5321,
/// section 4.1.4).
fn own_name(tcp: &TcpStream) -> String {
    let name = gethostname::gethostname().to_string_lossy().into_owned();
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if name.len() <= 253 && name.split('.').all(label) {
        return name;
    }
    match tcp.local_addr().map(|address| address.ip()) {
        Ok(IpAddr::V4(ip)) => format!("[{ip}]"),
        Ok(IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
        Err(_) => "localhost".to_owned(),
    }
}
