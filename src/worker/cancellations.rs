use std::sync::Arc;
use std::time::Duration;

use super::running::Running;
use crate::liveness::Liveness;
use crate::store::Store;

/// How often a process that runs something asks what of it is to be cancelled: one question for
/// all of it.
const EVERY: Duration = Duration::from_secs(1);

/// Passes on the requests to cancel what runs here.
pub(super) async fn watch(store: Arc<dyn Store>, liveness: Arc<Liveness>, running: Arc<Running>) {
    loop {
        tokio::time::sleep(EVERY).await;
        if running.is_empty() {
            continue;
        }
        let me = liveness.me();
        match store.cancel_requests(me).await {
            Ok(requests) => {
                for (id, epoch) in requests {
                    running.stop(id, me, epoch);
                }
            }
            Err(error) => liveness.report("asking for requests to cancel", &error),
        }
    }
}
