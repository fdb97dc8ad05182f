use tokio::signal::unix::{SignalKind, signal};

use super::error::CliError;
use crate::node::Shutdown;

/// SIGTERM or SIGINT drains; a second one cuts the deadline short.
pub(super) fn listen() -> Result<Shutdown, CliError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::failed)?;
    let shutdown = Shutdown::default();
    let heard = shutdown.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if heard.drain.is_cancelled() {
                heard.cut.cancel();
            } else {
                tracing::info!("stopping: finishing what runs; once more to hand it back now");
                heard.drain.cancel();
            }
        }
    });
    Ok(shutdown)
}
