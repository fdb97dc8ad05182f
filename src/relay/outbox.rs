use std::sync::Arc;
use std::time::Duration;

use super::{LEASE, Relay};

/// Entries leased at once.
const ENTRIES: u32 = 16;
/// How often an empty outbox is looked at.
const IDLE: Duration = Duration::from_millis(200);
/// Publishes what was committed but not published: its process died, the broker was down, or
/// whoever entered it does not publish.
pub(super) async fn run(relay: Arc<Relay>) {
    loop {
        let mut idle = IDLE;
        // While the broker is down, leasing would only shift every lease into the future.
        if relay.broker.accepts() {
            match relay.store.lease_outbox(ENTRIES, LEASE).await {
                Ok(entries) if !entries.is_empty() => {
                    for entry in entries {
                        relay.dispatcher.dispatch(entry).await;
                    }
                    idle = Duration::ZERO;
                }
                Ok(_) => {}
                Err(error) => relay.liveness.report("leasing the outbox", &error),
            }
        }
        tokio::time::sleep(idle).await;
    }
}
