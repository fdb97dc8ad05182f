use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long requests that are under way may take to end once the process stops.
const DRAIN: Duration = Duration::from_secs(5);

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
    let stopping = stop.clone();
    let server = axum::serve(listener, routes)
        .with_graceful_shutdown(async move { stopping.cancelled().await })
        .into_future();
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server => if let Err(error) = ended {
            tracing::error!(error = &error as &dyn std::error::Error, "the HTTP server ended");
        },
        () = late => tracing::warn!("requests were still under way when the process stopped"),
    }
}
