use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::job::QueueName;
use crate::store::Store;

/// How often it is read which queues are paused: every process heeds a pause within about this
/// time.
const EVERY: Duration = Duration::from_secs(1);

/// The queues whose jobs are not to be started; `None` until that has been read once.
type Paused = Option<BTreeSet<String>>;

/// Reads which queues are paused. While the store does not answer, what was read last holds:
/// without the store nothing can be claimed anyway.
pub(super) async fn watch_pauses(store: Arc<dyn Store>, paused: watch::Sender<Paused>) {
    loop {
        match store.paused().await {
            Ok(now) => {
                let now = Some(now.into_iter().map(|pause| pause.queue).collect());
                paused.send_if_modified(|before| {
                    let changed = *before != now;
                    *before = now;
                    changed
                });
            }
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "could not read which queues are paused"
            ),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Decides whether a queue's jobs may be started in this process. It is shut until the pauses
/// have been read, so that a pause holds across a restart.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    queue: QueueName,
    paused: watch::Receiver<Paused>,
}

impl Gate {
    pub(super) const fn new(queue: QueueName, paused: watch::Receiver<Paused>) -> Self {
        Self { queue, paused }
    }

    /// Whether jobs may be started now.
    pub(super) fn is_open(&self) -> bool {
        open(&self.paused.borrow(), &self.queue)
    }

    /// Until it is known whether the queue is paused; true if it is.
    pub(super) async fn is_paused(&self) -> bool {
        self.wait(Option::is_some).await;
        !self.is_open()
    }

    /// Until jobs may be started.
    pub(super) async fn opened(&self) {
        self.wait(|paused| open(paused, &self.queue)).await;
    }

    /// Until they may not.
    pub(super) async fn shut(&self) {
        self.wait(|paused| !open(paused, &self.queue)).await;
    }

    async fn wait(&self, wanted: impl Fn(&Paused) -> bool) {
        let mut paused = self.paused.clone();
        let changed = paused.wait_for(|paused| wanted(paused));
        if changed.await.is_err() {
            // Nobody reads the pauses any more: the process is ending.
            std::future::pending::<()>().await;
        }
    }
}

fn open(paused: &Paused, queue: &QueueName) -> bool {
    paused
        .as_ref()
        .is_some_and(|paused| !paused.contains(queue.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_shut_until_the_pauses_are_read_and_while_its_queue_is_among_them() {
        let (sender, receiver) = watch::channel(None);
        let gate = Gate::new("email".parse().unwrap(), receiver);
        assert!(!gate.is_open());
        for (paused, is_open) in [(vec![], true), (vec!["email"], false), (vec!["mail"], true)] {
            sender.send_replace(Some(paused.iter().map(ToString::to_string).collect()));
            assert_eq!(gate.is_open(), is_open, "{paused:?}");
            assert_eq!(gate.is_paused().await, !is_open, "{paused:?}");
            if is_open {
                gate.opened().await;
            } else {
                gate.shut().await;
            }
        }
    }
}
