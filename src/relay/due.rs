use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{BATCH, LEASE, Relay};
use crate::liveness::Pace;

/// The most a due job waits beyond its time when there is nothing else to do.
const IDLE: Duration = Duration::from_millis(200);
/// The same where looking takes long.
const LONGEST: Duration = Duration::from_secs(1);

/// Dispatches scheduled jobs and retries when they come due. Their time lives in the store, so
/// nothing on the broker waits behind anything.
pub(super) async fn run(relay: Arc<Relay>) {
    let mut pace = Pace::new(IDLE, LONGEST);
    loop {
        let mut idle = IDLE;
        let began = Instant::now();
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
            Ok(None) => idle = pace.rest(began.elapsed()),
            Err(error) => relay.liveness.report("promoting due jobs", &error),
        }
        tokio::time::sleep(idle).await;
    }
}
