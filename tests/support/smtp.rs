use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::Value;

use super::dir::TestDir;
use super::places;
use super::port::free_port;
use super::process::Tree;
use super::wait::{PATIENCE, until};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/smtp_sink.py");

/// A mail that the server took. It was written down before the sender got its `250`.
#[derive(Debug, Clone, Deserialize)]
pub struct Mail {
    /// With its angle brackets.
    pub message_id: String,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub rcpts: Vec<String>,
    pub subject: String,
    /// The sender's address and port: one connection, one peer.
    pub peer: String,
    /// Seconds since 1970, by the server's clock.
    pub time: f64,
    /// The whole message.
    pub data: String,
}

/// A real SMTP server (aiosmtpd in a process of its own) that keeps what it receives.
///
/// The recipient's local part may ask for trouble: `reject-550@…` is refused with that code,
/// every time; `fail-451-2@…` is refused with that code twice and accepted then. `data-452-1@…`
/// is refused after the message instead of before it. [`SmtpSink::behave`] makes trouble for
/// everybody.
#[derive(Debug)]
pub struct SmtpSink {
    // Dropped before its folder.
    server: Option<Tree>,
    port: u16,
    dir: TestDir,
}

impl SmtpSink {
    pub async fn start() -> Self {
        let mut sink = Self {
            server: None,
            port: free_port(),
            dir: TestDir::new("smtp"),
        };
        sink.boot().await;
        sink
    }

    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}?tls=none", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What was received so far, in order, over all restarts.
    pub fn mails(&self) -> Vec<Mail> {
        let text = fs::read_to_string(self.received()).unwrap_or_default();
        // The last line may be half written.
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete
            .lines()
            .map(|line| serde_json::from_str(line).expect("a mail"))
            .collect()
    }

    /// From the next command on, for every client. An object of these, all optional:
    ///
    /// - `connect`, `helo`, `mail`, `rcpt`, `data`: a reply code for that stage, such as 421;
    ///   with `data` the message was sent but is not kept;
    /// - `delay`: seconds before each reply;
    /// - `cut`: `"before-data"` closes the connection in place of the reply to `RCPT`,
    ///   `"in-data"` after the message, which is not kept, `"after-data"` after the message,
    ///   which is kept.
    pub fn behave(&self, trouble: &Value) {
        let new = self.dir.join("trouble.new");
        fs::write(&new, trouble.to_string()).expect("trouble");
        // The server reads it before every reply: it must never see half of it.
        fs::rename(new, self.dir.join("trouble.json")).expect("trouble");
    }

    /// No trouble any more.
    pub fn behave_well(&self) {
        self.behave(&serde_json::json!({}));
    }

    /// Ends it at once: connections are refused from now on.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// Stops it if it runs, and starts it on the same port.
    pub async fn restart(&mut self) {
        self.stop();
        self.boot().await;
    }

    /// SIGSTOP: connections open and nothing answers.
    pub fn freeze(&mut self) {
        let server = self.server.as_mut().expect("it is down");
        server.signal_all(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        let server = self.server.as_mut().expect("it is down");
        server.signal_all(Signal::SIGCONT);
    }

    fn received(&self) -> PathBuf {
        self.dir.join("mails.jsonl")
    }

    async fn boot(&mut self) {
        let ready = self.dir.join("ready");
        let _ = fs::remove_file(&ready);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("server.log"))
            .expect("log");
        let server = self.server.insert(Tree::spawn(
            Command::new(places::python())
                .arg(SCRIPT)
                .arg(self.port.to_string())
                .arg(self.dir.path())
                .stdout(log.try_clone().expect("log"))
                .stderr(log),
        ));
        let log = self.dir.join("server.log");
        until("the SMTP server listens", PATIENCE, async || {
            assert!(
                server.is_running(),
                "the SMTP server ended: {}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            ready.exists().then_some(())
        })
        .await;
    }
}
