use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// aiosmtpd in a process of its own, told apart from ours only by the wire.
pub(crate) struct RealServer {
    pub(crate) port: u64,
    events: UnboundedReceiver<Value>,
    _process: Child,
}

impl RealServer {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let python = std::env::var("TEST_PYTHON").expect(
            "TEST_PYTHON is not set: run the tests by tests/run, which makes a Python environment with aiosmtpd",
        );
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/email/smtpd.py");
        let mut process = Command::new(&python)
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot run TEST_PYTHON={python}: {error}; see tests/run")
            });
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (events_to, events) = unbounded_channel();
        // Read at once: a full pipe would stop the server.
        tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                let _ = events_to.send(serde_json::from_str(&line).unwrap());
            }
        });
        let mut server = Self {
            port: 0,
            events,
            _process: process,
        };
        let listening = server.next("listening").await;
        server.port = listening["port"].as_u64().unwrap();
        server
    }

    pub(crate) async fn next(&mut self, event: &str) -> Value {
        loop {
            let value = self.any().await;
            if value["event"] == event {
                return value;
            }
        }
    }

    pub(crate) async fn any(&mut self) -> Value {
        self.events
            .recv()
            .await
            .expect("smtpd.py ended; is aiosmtpd installed in TEST_PYTHON? see tests/run")
    }

    pub(crate) fn url(&self, user: &str, tls: &str) -> String {
        format!("smtp://{user}localhost:{}?tls={tls}", self.port)
    }
}

/// The values of a header of a mail that arrived.
pub(crate) fn header<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    mail["headers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name))
        .map(|pair| pair[1].as_str().unwrap())
        .collect()
}
