//! Getting a confirm channel, and what becomes of messages meanwhile.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Pending, Task, WAITING};
use crate::broker::amqp::connection::{Backoff, Connections, Link, answer, discard};
use crate::broker::amqp::topology::unavailable;
use crate::broker::{BrokerError, PublishError};

/// How long a message waits for the first try to connect. Once a try has failed none waits:
/// the job is in the outbox, and its caller has better things to do.
const PATIENCE: Duration = Duration::from_secs(1);

/// A confirm channel and the connection it is on.
pub(super) struct Session {
    pub(super) link: Link,
    pub(super) channel: Arc<lapin::Channel>,
}

impl Task {
    /// A confirm channel, however long it takes; `None` once closed. Meanwhile nobody waits
    /// longer than [`PATIENCE`].
    pub(super) async fn connect(
        &mut self,
        mut link: Option<Link>,
        mut wait: Duration,
        backoff: &mut Backoff,
    ) -> Option<Session> {
        let mut failed: Option<String> = None;
        loop {
            let connections = self.connections.clone();
            let known = link.take();
            let attempt = async move {
                sleep(wait).await;
                open(&connections, known).await
            };
            match self.meanwhile(attempt, failed.as_deref()).await? {
                Ok(session) => return Some(session),
                Err(error) => {
                    let reason = reason(error);
                    if failed.is_none() {
                        tracing::warn!(reason, "cannot publish; trying again");
                    }
                    self.refuse(&reason);
                    failed = Some(reason);
                    wait = backoff.next();
                }
            }
        }
    }

    /// Runs `attempt` to its end, while answering those whose patience ends first; at once if
    /// it is known that connecting has `failed`. `None` once closed.
    async fn meanwhile<T>(
        &mut self,
        attempt: impl Future<Output = T>,
        failed: Option<&str>,
    ) -> Option<T> {
        let closed = self.closed.clone();
        let began = Instant::now();
        tokio::pin!(attempt);
        loop {
            let first = self.waiting.front();
            let first = first.map(|first| first.taken.max(began) + PATIENCE);
            tokio::select! {
                biased;
                () = closed.cancelled() => return None,
                done = &mut attempt => return Some(done),
                Some(pending) = self.arrivals.recv(), if self.waiting.len() < WAITING => {
                    self.take_in(pending);
                    if let Some(reason) = failed {
                        self.refuse(reason);
                    }
                }
                () = sleep_until(first.unwrap_or_else(Instant::now)), if first.is_some() => {
                    self.refuse_impatient(began);
                }
            }
        }
    }

    pub(super) fn refuse(&mut self, reason: &str) {
        for pending in self.waiting.drain(..) {
            pending.settle(Err(PublishError::Unavailable(reason.to_owned())));
        }
    }

    /// `began`: when this try to connect did. What was in flight before has its own patience.
    fn refuse_impatient(&mut self, began: Instant) {
        let late = |pending: &Pending| pending.taken.max(began).elapsed() >= PATIENCE;
        while self.waiting.front().is_some_and(late) {
            if let Some(pending) = self.waiting.pop_front() {
                let reason = "no connection yet".to_owned();
                pending.settle(Err(PublishError::Unavailable(reason)));
            }
        }
    }
}

/// The reason without the words that a [`PublishError`] brings along itself.
pub(super) fn reason(error: BrokerError) -> String {
    match error {
        BrokerError::Unavailable(reason) => reason,
        other => other.to_string(),
    }
}

/// A confirm channel on `link` if it is still good, else on a new connection.
async fn open(connections: &Connections, link: Option<Link>) -> Result<Session, BrokerError> {
    if let Some(link) = link {
        match confirm_channel(&link).await {
            Ok(channel) => return Ok(Session { link, channel }),
            Err(_) => discard(link),
        }
    }
    let link = connections.open().await?;
    match confirm_channel(&link).await {
        Ok(channel) => Ok(Session { link, channel }),
        Err(error) => {
            discard(link);
            Err(unavailable(&error))
        }
    }
}

async fn confirm_channel(link: &Link) -> lapin::Result<Arc<lapin::Channel>> {
    let channel = answer(link.create_channel()).await?;
    answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(Arc::new(channel))
}
