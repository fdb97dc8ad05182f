use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection;
use super::seats::{Seat, Seats};
use super::{Problem, problems};

/// Open files that this process asks for; it works with fewer.
const OPEN_FILES: u64 = 8192;
/// Of these, what the rest of the process may need.
const OTHER_FILES: u64 = 256;
/// How long to wait when a connection cannot be taken because this process or machine has no
/// file left for it.
const NO_FILES: Duration = Duration::from_millis(100);

/// What one server puts up with. Times are measured on this process's own clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at once. One more takes the place of the one that has been idle longest, and
    /// is refused when none is idle.
    pub(super) connections: usize,
    /// From the first moment that a request could be sent to its last header: a connection that
    /// is kept alive may be idle for as long.
    pub(super) headers: Duration,
    /// Between two bytes that the client takes of an answer.
    pub(super) stall: Duration,
    /// For requests that are under way when the process stops.
    pub(super) drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            headers: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// The same, with no more connections than this process may have files open.
    fn within_open_files(mut self) -> Self {
        match rlimit::increase_nofile_limit(OPEN_FILES) {
            Ok(files) => {
                let most = usize::try_from(files.saturating_sub(OTHER_FILES).max(16));
                self.connections = self.connections.min(most.unwrap_or(usize::MAX));
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot tell how many files may be open"
            ),
        }
        self
    }
}

/// Why the HTTP server could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ServeError {
    /// Where it should have listened.
    pub address: SocketAddr,
    /// Why it could not.
    #[source]
    pub source: std::io::Error,
}

/// Takes the address.
///
/// # Errors
/// When it is in use, or not an address of this machine.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError { address, source })
}

/// Answers requests until `stop`, then lets those under way end.
pub async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let limits = Limits::default().within_open_files();
    serve_within(limits, listener, routes, stop).await;
}

pub(super) async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    routes: Router,
    stop: CancellationToken,
) {
    let seats = Arc::new(Seats::new(limits.connections));
    let connections = TaskTracker::new();
    while let Some(stream) = stop.run_until_cancelled(accept(&listener)).await {
        match seats.take() {
            Some(seat) => {
                let served = connection::serve(limits, stream, routes.clone(), seat, stop.clone());
                connections.spawn(served);
            }
            None => {
                connections.spawn(refuse(stream));
            }
        }
    }
    drop(listener);
    connections.close();
    let drained = tokio::time::timeout(limits.drain, connections.wait()).await;
    if drained.is_err() {
        seats.each(Seat::leave);
        tracing::warn!("requests were still under way when the process stopped");
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // The client was gone before it was taken.
            Err(error) if connection::is_clients_own(&error) => {}
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot take a connection"
                );
                tokio::time::sleep(NO_FILES).await;
            }
        }
    }
}

/// Every place is taken by a request that is under way.
async fn refuse(mut stream: TcpStream) {
    let detail = "every connection is at work; try again, or ask another intake";
    let body = Problem::new(problems::TOO_MANY_CONNECTIONS, detail)
        .body()
        .to_string();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
         content-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    // Told as well as may be: a client that does not listen is not waited for.
    let _ = tokio::time::timeout(NO_FILES, told).await;
}

#[cfg(test)]
mod tests;
