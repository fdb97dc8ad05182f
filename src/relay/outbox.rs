use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{LEASE, Relay};
use crate::liveness::Pace;

/// Entries leased at once.
const ENTRIES: u32 = 16;
/// How often an empty outbox is looked at.
const IDLE: Duration = Duration::from_millis(200);
/// And at least so often, however long that takes.
const LONGEST: Duration = Duration::from_secs(1);

/// Publishes what was committed but not published: its process died, the broker was down, or
/// whoever entered it does not publish.
pub(super) async fn run(relay: Arc<Relay>) {
    let mut pace = Pace::new(IDLE, LONGEST);
    loop {
        let mut idle = IDLE;
        // While the broker is down, leasing would only shift every lease into the future; and what
        // this process has no room for may be published by another.
        if relay.broker.accepts() && relay.dispatcher.has_room() {
            let began = Instant::now();
            match relay.store.lease_outbox(ENTRIES, LEASE).await {
                Ok(entries) if !entries.is_empty() => {
                    for entry in entries {
                        relay.dispatcher.dispatch(entry).await;
                    }
                    idle = Duration::ZERO;
                }
                Ok(_) => idle = pace.rest(began.elapsed()),
                Err(error) => relay.liveness.report("leasing the outbox", &error),
            }
        }
        tokio::time::sleep(idle).await;
    }
}
