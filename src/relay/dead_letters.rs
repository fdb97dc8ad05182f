use std::sync::Arc;
use std::time::Duration;

use super::Relay;
use crate::broker::{Delivery, Lane, Source};
use crate::job::{
    Decoded, ErrorClass, JobError, JobId, Junk, Priority, Publication, QueueName, decode,
    storable_body,
};
use crate::store::{DeadLetter, StoreResult};

/// Dead letters in hand at once.
const PREFETCH: u16 = 32;
/// How long to wait before trying a letter again.
const PAUSE: Duration = Duration::from_secs(1);

/// Empties a queue's dead-letter queue into the store. Only the store kills: a letter for a job
/// that is still `queued` at that dispatch is published again.
pub(super) async fn run(relay: Arc<Relay>, queue: QueueName) {
    let source = Source::new(queue.clone(), Lane::Dead);
    let mut letters = relay.broker.consume(source, PREFETCH).await;
    while let Some(delivery) = letters.next().await {
        // Until it is dealt with: the letter is safe on the broker as long as it is unsettled.
        // One id for all tries: a try whose answer was lost may have been written.
        let id = JobId::new();
        loop {
            match ingest(&relay, &queue, &delivery, id).await {
                Ok(true) => {
                    delivery.ack();
                    break;
                }
                Ok(false) => {}
                Err(error) => relay.liveness.report("ingesting a dead letter", &error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// True if the letter may be acknowledged.
async fn ingest(
    relay: &Relay,
    queue: &QueueName,
    delivery: &Delivery,
    id: JobId,
) -> StoreResult<bool> {
    let message = &delivery.message;
    match decode(message, queue, Priority::Normal) {
        Decoded::Ours(letter) => republish(relay, &letter).await,
        // Rejected in search of an unreadable message, or delivered too often before it was
        // adopted: a bystander.
        Decoded::Foreign(foreign) if relay.queues.of_kind(&foreign.kind) == Some(queue) => {
            let job = foreign.into_job(queue.clone(), Priority::Normal);
            let me = relay.liveness.me();
            relay.store.insert(me, &[job], Duration::ZERO).await?;
            Ok(true)
        }
        Decoded::Foreign(foreign) => {
            let reason = "the broker dead-lettered a message that was never adopted";
            let error = JobError::new(ErrorClass::Invalid, "never_adopted", reason);
            keep(
                relay,
                queue,
                id,
                foreign.kind.as_str(),
                &message.body,
                error,
            )
            .await
        }
        Decoded::Junk(Junk { code, reason }) => {
            let kind = message.kind.as_deref().unwrap_or("unknown");
            let error = JobError::new(ErrorClass::Invalid, code, &reason);
            keep(relay, queue, id, kind, &message.body, error).await
        }
    }
}

async fn republish(relay: &Relay, letter: &Publication) -> StoreResult<bool> {
    let Some(live) = relay.store.publication(letter.id, letter.dispatch).await? else {
        return Ok(true); // dead in the store, or stale: recorded there already
    };
    let answers = relay.broker.publish(std::slice::from_ref(&live)).await;
    Ok(answers.iter().all(Result::is_ok))
}

async fn keep(
    relay: &Relay,
    queue: &QueueName,
    id: JobId,
    kind: &str,
    body: &[u8],
    error: JobError,
) -> StoreResult<bool> {
    let letter = DeadLetter {
        id,
        kind: kind.to_owned(),
        queue: queue.clone(),
        payload: storable_body(body),
        error,
    };
    relay
        .store
        .insert_dead(relay.liveness.me(), &[letter])
        .await?;
    Ok(true)
}
