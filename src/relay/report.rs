use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Relay;

/// How often it is told what passes through this process.
const EVERY: Duration = Duration::from_secs(2);

/// Tells what this process does, for people. Written only when it has changed.
pub(super) async fn run(relay: Arc<Relay>) {
    let mut told = None;
    loop {
        let now = Some((relay.liveness.me(), relay.flow.reports(Instant::now())));
        if let Some((process, reports)) = now.as_ref().filter(|_| now != told) {
            match relay.store.report(*process, reports).await {
                Ok(()) => told = now,
                // The heartbeat tells of a store that does not answer.
                Err(error) => tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "could not tell what this process does"
                ),
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
