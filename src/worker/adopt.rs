use std::time::Duration;

use super::executor::Executor;
use crate::broker::Delivery;
use crate::job::{Foreign, Junk, Priority};
use crate::store::{DeadLetter, StoreError, admits};

/// How long to wait before trying the store again.
const PAUSE: Duration = Duration::from_millis(500);

impl Executor {
    /// Makes a job of a message that an app published by itself: an ordinary insert under a new
    /// id, then an acknowledgement. A crash between the two delivers the message again; the
    /// unique key makes that the same job.
    pub(super) async fn adopt(&self, foreign: Foreign, priority: Priority, delivery: Delivery) {
        match self.admit(&foreign).await {
            Some(Ok(())) => {}
            Some(Err(junk)) => return self.bury(&junk, delivery).await,
            None => return delivery.release(),
        }
        let job = foreign.into_job(self.queue.clone(), priority);
        // No lease: the message to publish is only in the outbox, for any relay to take.
        let jobs = std::slice::from_ref(&job);
        let inserted = self
            .until_stored(|| self.store.insert(self.liveness.me(), jobs, Duration::ZERO))
            .await;
        match inserted {
            Some(Ok(_)) => delivery.ack(),
            Some(Err(error)) => self.bury(&unstorable(&error), delivery).await,
            None => delivery.release(),
        }
    }

    /// What the intake checks at its door. The payload of a kind that this program does not know
    /// is looked at by the workers that do.
    async fn admit(&self, foreign: &Foreign) -> Option<Result<(), Junk>> {
        let admitted = self
            .until_stored(|| admits(&*self.store, &self.queues, &foreign.kind, &self.queue))
            .await?;
        Some(match admitted {
            Ok(Ok(())) if self.queues.of_kind(&foreign.kind) == Some(&self.queue) => {
                self.payload_fits(foreign)
            }
            Ok(admitted) => admitted,
            Err(error) => Err(unstorable(&error)),
        })
    }

    fn payload_fits(&self, foreign: &Foreign) -> Result<(), Junk> {
        let Some(handler) = self.handlers.get(&foreign.kind) else {
            return Ok(());
        };
        handler.check(&foreign.payload).map_err(|wrong| {
            let texts: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            Junk {
                code: "invalid_payload",
                reason: texts.join("; "),
            }
        })
    }

    /// Keeps a message that can be no job as a dead job with the reason.
    pub(super) async fn bury(&self, junk: &Junk, delivery: Delivery) {
        let letters = [DeadLetter::of_junk(&delivery.message, &self.queue, junk)];
        tracing::warn!(
            error.code = junk.code,
            queue.name = %self.queue,
            "a message is no job; kept as a dead letter"
        );
        let stored = self
            .until_stored(|| self.store.insert_dead(self.liveness.me(), &letters))
            .await;
        match stored {
            Some(Ok(())) => delivery.ack(),
            // Not even as a dead letter: the broker's dead-letter queue keeps it.
            Some(Err(_)) => delivery.reject(),
            None => delivery.release(),
        }
    }

    /// Tries until the store answers, with a yes or because it refuses the data, or the
    /// process drains (`None`).
    async fn until_stored<T, F>(
        &self,
        mut write: impl FnMut() -> F,
    ) -> Option<Result<T, StoreError>>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        loop {
            match self.draining.run_until_cancelled(write()).await? {
                Ok(written) => return Some(Ok(written)),
                Err(error) if error.is_data() => return Some(Err(error)),
                Err(error) => self
                    .liveness
                    .report("storing a message from outside", &error),
            }
            let nap = tokio::time::sleep(PAUSE);
            self.draining.run_until_cancelled(nap).await?;
        }
    }
}

fn unstorable(error: &StoreError) -> Junk {
    Junk {
        code: "unstorable",
        reason: format!("the store refused the message: {error}"),
    }
}

#[cfg(test)]
mod tests;
