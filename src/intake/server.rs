use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection;
use super::seats::Seats;
use super::{Problem, body, problems};

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
    /// is turned away when none is idle.
    pub(super) connections: usize,
    /// How long a connection is idle, at least, before its place is given to another.
    pub(super) grace: Duration,
    /// Connections that are being turned away at once. Further ones are not taken meanwhile:
    /// they wait in the system's own queue.
    pub(super) overflow: usize,
    /// How long turning one away may take.
    pub(super) turning_away: Duration,
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
            grace: Duration::from_secs(1),
            overflow: 128,
            turning_away: Duration::from_secs(3),
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

/// Answers requests until `stop`, then lets those under way end. With more connections than are
/// served at once, only `health` of it is answered to the others: a process that is busy must
/// not be taken for one that is dead.
pub async fn serve(listener: TcpListener, routes: Router, health: Router, stop: CancellationToken) {
    let limits = Limits::default().within_open_files();
    serve_within(limits, listener, routes, health, stop).await;
}

pub(super) async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    routes: Router,
    health: Router,
    stop: CancellationToken,
) {
    let seats = Arc::new(Seats::new(limits.connections, limits.grace));
    let overflow = Arc::new(Semaphore::new(limits.overflow));
    let health = health.fallback(turn_away);
    let connections = TaskTracker::new();
    let serve = |stream, seat| {
        let served = connection::serve(limits, stream, routes.clone(), seat, stop.clone());
        connections.spawn(served);
    };
    while let Some(stream) = stop.run_until_cancelled(accept(&listener)).await {
        if let Some(seat) = seats.take() {
            serve(stream, seat);
            continue;
        }
        let place = overflow.clone().acquire_owned();
        let Some(Ok(place)) = stop.run_until_cancelled(place).await else {
            break;
        };
        // One may have come free meanwhile.
        if let Some(seat) = seats.take() {
            serve(stream, seat);
            continue;
        }
        let health = health.clone();
        connections.spawn(async move {
            connection::serve_once(limits, stream, health).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    let drained = tokio::time::timeout(limits.drain, connections.wait()).await;
    if drained.is_err() {
        seats.cut();
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
async fn turn_away(unread: Body) -> Problem {
    body::discard(unread).await;
    let detail = "every connection is at work; try again, or ask another intake";
    Problem::new(problems::TOO_MANY_CONNECTIONS, detail).retry_after(1)
}

#[cfg(test)]
mod tests;
