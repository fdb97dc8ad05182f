use std::sync::Arc;
use std::time::Duration;

use super::Relay;
use crate::config::QueueConfig;
use crate::job::QueueName;
use crate::store::Retention;

/// How often finished jobs past their retention are removed.
const EVERY: Duration = Duration::from_secs(60);

/// Creates what must exist ahead and removes finished jobs past their queue's retention.
pub(super) async fn run(relay: Arc<Relay>) {
    let retentions: Vec<Retention> = relay
        .queues
        .iter()
        .map(|(name, queue)| retention(Some(name), queue))
        .collect();
    // A queue that was taken out of the configuration: its jobs are kept as the defaults say.
    let fallback = retention(None, &QueueConfig::new(Vec::new()));
    loop {
        tokio::time::sleep(EVERY).await;
        match relay.store.prune(&retentions, &fallback).await {
            Ok(0) => {}
            Ok(pruned) => tracing::info!(
                jobs.pruned = pruned,
                "removed finished jobs past their retention"
            ),
            Err(error) => relay.liveness.report("pruning", &error),
        }
    }
}

fn retention(name: Option<&QueueName>, queue: &QueueConfig) -> Retention {
    Retention {
        queue: name.cloned(),
        finished: queue.retention,
        dead: queue.dead_retention,
    }
}
