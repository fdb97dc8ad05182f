use std::time::Duration;

use super::executor::Executor;
use crate::broker::Delivery;
use crate::job::{
    ErrorClass, Foreign, JobError, JobId, Junk, Kind, Priority, QueueName, storable_body,
};
use crate::store::{DeadLetter, StoreError};

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

    /// What the intake checks at its door. A kind that this program does not know may be one of a
    /// newer version, which has announced it; then that version's workers look at the payload.
    async fn admit(&self, foreign: &Foreign) -> Option<Result<(), Junk>> {
        let own = self.queues.of_kind(&foreign.kind);
        if own == Some(&self.queue) {
            return Some(self.payload_fits(foreign));
        }
        let asked = || self.store.announced_queue(&foreign.kind);
        let announced = match self.until_stored(asked).await? {
            Ok(announced) => announced,
            Err(error) => return Some(Err(unstorable(&error))),
        };
        Some(match announced.as_ref().or(own) {
            Some(queue) if *queue == self.queue => Ok(()),
            Some(queue) => Err(misrouted(&foreign.kind, queue)),
            None => Err(unknown_kind(&foreign.kind)),
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
        let message = &delivery.message;
        let letters = [DeadLetter {
            id: JobId::new(),
            kind: message.kind.clone().unwrap_or_else(|| "unknown".to_owned()),
            queue: self.queue.clone(),
            payload: storable_body(&message.body),
            error: JobError::new(ErrorClass::Invalid, junk.code, &junk.reason),
        }];
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

fn misrouted(kind: &Kind, queue: &QueueName) -> Junk {
    Junk {
        code: "wrong_queue",
        reason: format!(
            "the kind `{kind}` waits in the queue `{queue}`: publish it with that routing key"
        ),
    }
}

fn unknown_kind(kind: &Kind) -> Junk {
    Junk {
        code: "unknown_kind",
        reason: format!(
            "the AMQP property `type` names the kind `{kind}`, which no process has announced"
        ),
    }
}

fn unstorable(error: &StoreError) -> Junk {
    Junk {
        code: "unstorable",
        reason: format!("the store refused the message: {error}"),
    }
}
