use std::sync::Arc;

use super::Relay;

/// Declares silent processes dead and puts their jobs back, ahead of the backlog. The store
/// checks once more that the counter stands where it was seen, under a lock: several relays, or
/// a process that woke at the last moment, cannot both win.
pub(super) async fn run(relay: Arc<Relay>) {
    let mut suspects = relay.liveness.suspects();
    while suspects.changed().await.is_ok() {
        let found = suspects.borrow_and_update().clone();
        for suspect in found {
            match relay.store.bury(suspect.process, suspect.counter).await {
                Ok(Some(rescued)) => {
                    relay.flow.rescued(rescued);
                    tracing::warn!(
                        process.id = suspect.process.0,
                        jobs.rescued = rescued,
                        "a process fell silent and was declared dead; its jobs run again"
                    );
                }
                Ok(None) => {}
                Err(error) => relay.liveness.report("declaring a process dead", &error),
            }
        }
    }
}
