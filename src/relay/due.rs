use std::sync::Arc;
use std::time::Duration;

use super::{BATCH, LEASE, Relay};

/// The most a due job waits beyond its time when there is nothing else to do.
const IDLE: Duration = Duration::from_millis(200);

/// Dispatches scheduled jobs and retries when they come due. Their time lives in the store, so
/// nothing on the broker waits behind anything.
pub(super) async fn run(relay: Arc<Relay>) {
    loop {
        let mut idle = IDLE;
        // While the broker is down what is due may as well wait where it can be seen.
        let due = match relay.broker.accepts() {
            true => relay.store.promote_due(BATCH, LEASE).await,
            false => Ok(None),
        };
        match due {
            Ok(Some(entry)) => {
                relay.dispatcher.dispatch(entry).await;
                idle = Duration::ZERO;
            }
            Ok(None) => {}
            Err(error) => relay.liveness.report("promoting due jobs", &error),
        }
        tokio::time::sleep(idle).await;
    }
}
