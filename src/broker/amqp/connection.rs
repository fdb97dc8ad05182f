//! Connections: where the brokers are, how to reach one, and how long to wait between tries.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_lapin::{Config, Object, Pool, PoolConfig, QueueMode, Runtime};
use lapin::ConnectionProperties;
use lapin::uri::AMQPUri;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::broker::{BrokerError, NodeStatus};

/// A connection out of the pool. It goes back there when it is dropped.
pub(super) type Link = Object;

/// How long one broker may take to open a connection: TCP, TLS and the AMQP handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the broker may take to answer anything but a publish.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A pooled connection that nobody used for this long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Connections to one broker at most, besides one for each consumer (see `Care::Alone`). It
/// also bounds the handshakes that hang in a frozen broker: neither TCP nor lapin gives those
/// up.
const POOL_SIZE: usize = 8;
/// AMQP heartbeat, in seconds.
const HEARTBEAT: &str = "10";
/// Longest AMQP frame, in bytes. lapin keeps 64 of them as buffers for each connection, all of
/// them resident: with RabbitMQ's 128 KiB that would be 8 MB a connection, most of what an idle
/// worker has. A longer message travels in several frames.
const FRAME_MAX: &str = "32768";

/// One broker of `AMQP_URL`.
struct Endpoint {
    // Without the user and the password, for people.
    label: String,
    uri: AMQPUri,
    // Its `Debug` shows the whole URL: never print it.
    pool: Pool,
}

/// The connections of this process, over all the brokers of `AMQP_URL`.
pub(super) struct Connections {
    endpoints: Vec<Endpoint>,
    // The endpoint that answered last; tried first.
    preferred: AtomicUsize,
    // Consumers share a connection, a channel each. Held across a connection attempt, so that
    // many consumers make one.
    consuming: Mutex<Option<Arc<Link>>>,
    closed: CancellationToken,
}

impl Connections {
    /// Room for this many consumers. Connects to nothing yet.
    pub(super) fn new(
        urls: &[String],
        consumers: usize,
        closed: CancellationToken,
    ) -> Result<Self, BrokerError> {
        if urls.is_empty() {
            return Err(BrokerError::Url("no AMQP URL is given".to_owned()));
        }
        let endpoints = urls
            .iter()
            .enumerate()
            .map(|(index, url)| Endpoint::new(index + 1, url.trim(), POOL_SIZE + consumers))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            endpoints,
            preferred: AtomicUsize::new(0),
            consuming: Mutex::new(None),
            closed,
        })
    }

    /// A connection of one's own, from the first broker that answers.
    pub(super) async fn open(&self) -> Result<Link, BrokerError> {
        let first = self.preferred.load(Ordering::Relaxed);
        let count = self.endpoints.len();
        let mut reasons = Vec::new();
        for index in (first..first + count).map(|index| index % count) {
            if self.closed.is_cancelled() {
                return Err(closed());
            }
            match self.endpoints[index].open().await {
                Ok(link) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(link);
                }
                Err(reason) => {
                    reasons.push(format!("{}: {reason}", self.endpoints[index].label));
                }
            }
        }
        Err(BrokerError::Unavailable(reasons.join("; ")))
    }

    /// The connection that consumers share.
    pub(super) async fn consuming(&self) -> Result<Arc<Link>, BrokerError> {
        let mut shared = self.consuming.lock().await;
        if let Some(link) = shared.as_ref().filter(|link| link.status().connected()) {
            return Ok(link.clone());
        }
        *shared = None;
        let link = Arc::new(self.open().await?);
        *shared = Some(link.clone());
        Ok(link)
    }

    /// The broker's product and version, from the greeting that it sends before any login.
    pub(super) async fn version(&self) -> Result<String, BrokerError> {
        let mut reasons = Vec::new();
        for endpoint in &self.endpoints {
            match endpoint.version().await {
                Ok(version) => return Ok(version),
                Err(reason) => reasons.push(format!("{}: {reason}", endpoint.label)),
            }
        }
        Err(BrokerError::Unavailable(reasons.join("; ")))
    }

    /// The same of each of them, asked all at once.
    pub(super) async fn nodes(&self) -> Vec<NodeStatus> {
        let asked = self.endpoints.iter().map(|endpoint| async {
            NodeStatus {
                address: endpoint.label.clone(),
                version: endpoint.version().await,
            }
        });
        futures::future::join_all(asked).await
    }

    /// Closes what is idle, and the shared connection. Connections in use close when their
    /// users, who watch the same token, are done.
    pub(super) async fn close(&self) {
        self.closed.cancel();
        for endpoint in &self.endpoints {
            endpoint.pool.close();
        }
        if let Some(link) = self.consuming.lock().await.take() {
            // A blocked or dead connection cannot say goodbye; do not wait for it.
            let goodbye = link.close(200, "OK".into());
            let _ = tokio::time::timeout(Duration::from_secs(2), goodbye).await;
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.endpoints.iter().map(|e| &e.label).collect();
        f.debug_tuple("Connections").field(&labels).finish()
    }
}

impl Endpoint {
    /// `position` counts from 1. No error shows the URL: it may hold a password.
    fn new(position: usize, text: &str, pool_size: usize) -> Result<Self, BrokerError> {
        let bad = |reason: &str| {
            BrokerError::Url(format!(
                "AMQP URL number {position} {reason}; it should look like amqp://user:password@host:5672/vhost"
            ))
        };
        let mut url =
            url::Url::parse(text).map_err(|error| bad(&format!("is no URL ({error})")))?;
        if !matches!(url.scheme(), "amqp" | "amqps") {
            return Err(bad("does not begin with amqp:// or amqps://"));
        }
        // The AMQP library takes an IPv6 literal for no host at all and connects to localhost.
        if url.domain().is_none_or(str::is_empty) {
            return Err(bad("has no host name or IPv4 address"));
        }
        if !url.query_pairs().any(|(key, _)| key == "heartbeat") {
            url.query_pairs_mut().append_pair("heartbeat", HEARTBEAT);
        }
        if !url.query_pairs().any(|(key, _)| key == "frame_max") {
            url.query_pairs_mut().append_pair("frame_max", FRAME_MAX);
        }
        let uri: AMQPUri = url
            .as_str()
            .parse()
            .map_err(|_| bad("has a parameter or an escape that cannot be read"))?;
        let label = format!("{}:{}", uri.authority.host, uri.authority.port);
        let pool = Config {
            url: Some(url.into()),
            pool: Some(PoolConfig {
                queue_mode: QueueMode::Lifo,
                ..PoolConfig::new(pool_size)
            }),
        }
        .create_pool(connection_properties, Runtime::Tokio1)
        .map_err(|error| BrokerError::Url(format!("no connection pool: {error}")))?;
        Ok(Self { label, uri, pool })
    }

    async fn version(&self) -> Result<String, String> {
        let asked = super::greeting::version(&self.uri);
        match tokio::time::timeout(CONNECT_TIMEOUT, asked).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    async fn open(&self) -> Result<Link, String> {
        self.pool.retain(|_, metrics| metrics.last_used() < IDLE);
        let pool = self.pool.clone();
        // A task, because an attempt that is dropped half-way leaves its thread and socket to
        // nobody. Left alone it keeps its place in the pool, and serves the next caller once
        // the broker wakes up.
        let attempt = tokio::spawn(async move { pool.get().await });
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(Ok(link))) => Ok(link),
            Ok(Ok(Err(deadpool_lapin::PoolError::Backend(error)))) => Err(error.to_string()),
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(_)) => Err("the connection attempt was cut off".to_owned()),
            Err(_) => Err("no connection in time".to_owned()),
        }
    }
}

// lapin's own recovery stays off, as it is by default: it would replay consumers and confirms
// behind our back, and tags would cross connections.
fn connection_properties() -> ConnectionProperties {
    ConnectionProperties::default().with_connection_name(
        format!(
            "longshore {}/{}",
            gethostname::gethostname().to_string_lossy(),
            std::process::id()
        )
        .into(),
    )
}

pub(super) fn closed() -> BrokerError {
    BrokerError::Unavailable("this process closed its connections".to_owned())
}

/// Waits for the broker's answer, but not for ever.
pub(super) async fn answer<T>(
    question: impl Future<Output = lapin::Result<T>>,
) -> Result<T, lapin::Error> {
    tokio::time::timeout(ANSWER_TIMEOUT, question)
        .await
        .unwrap_or_else(|_| {
            Err(lapin::Error::from(std::io::Error::from(
                std::io::ErrorKind::TimedOut,
            )))
        })
}

/// Drops a connection that may hang instead of giving it back to the pool.
pub(super) fn discard(link: Link) {
    drop(Object::take(link));
}

/// Growing waits between tries, each spread over half to all of its step.
#[derive(Debug)]
pub(super) struct Backoff {
    step: Duration,
    cap: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);

    pub(super) const fn new(cap: Duration) -> Self {
        Self {
            step: Self::FIRST,
            cap,
        }
    }

    pub(super) fn next(&mut self) -> Duration {
        let wait = self.step.mul_f64(0.5 + 0.5 * rand::random::<f64>());
        self.step = (self.step * 2).min(self.cap);
        wait
    }

    pub(super) const fn reset(&mut self) {
        self.step = Self::FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(url: &str) -> String {
        Connections::new(&[url.to_owned()], 0, CancellationToken::new())
            .unwrap_err()
            .to_string()
    }

    #[tokio::test]
    async fn a_malformed_url_is_named_by_its_place_and_never_shown() {
        for url in [
            "",
            "localhost",
            "http://u:secret@localhost",
            "amqp:secret",
            "amqp://u:secret@",
            "amqp://u:secret@[::1]:5672",
            "amqp://u:secret@host:notaport",
            "amqp://u:secret@host?heartbeat=often",
            "amqp://u:%ffsecret@host",
        ] {
            let error = rejected(url);
            assert!(!error.contains("secret"), "{error}");
            assert!(error.contains("number 1"), "{error}");
        }
    }

    #[tokio::test]
    async fn no_debug_output_shows_a_password() {
        let urls = ["amqp://u:secret@localhost:1/v".to_owned()];
        let connections = Connections::new(&urls, 0, CancellationToken::new()).unwrap();
        let shown = format!("{connections:?}");
        assert!(shown.contains("localhost:1") && !shown.contains("secret"));
        let error = connections.open().await.unwrap_err().to_string();
        assert!(error.contains("localhost:1") && !error.contains("secret"));
    }

    #[tokio::test]
    async fn the_heartbeat_is_ten_seconds_unless_the_url_says_otherwise() {
        let heartbeat = |url: &str| Endpoint::new(1, url, 1).unwrap().uri.query.heartbeat;
        assert_eq!(heartbeat("amqp://localhost/v?frame_max=4096"), Some(10));
        assert_eq!(heartbeat("amqp://localhost/v?heartbeat=3"), Some(3));
    }

    #[test]
    fn waits_grow_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(2));
        let waits: Vec<_> = (0..12).map(|_| backoff.next()).collect();
        assert!(waits[0] <= Duration::from_millis(100));
        assert!(waits[11] >= Duration::from_secs(1) && waits[11] <= Duration::from_secs(2));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
