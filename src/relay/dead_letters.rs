use std::sync::Arc;
use std::time::Duration;

use super::Relay;
use crate::broker::{Delivery, Lane, Source};
use crate::job::{Decoded, JobId, Priority, Publication, QueueName, decode};
use crate::store::{DeadLetter, StoreResult, admits};

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
    let junk = match decode(message, queue, Priority::Normal) {
        Decoded::Ours(letter) => return republish(relay, &letter).await,
        // Rejected in search of an unreadable message, or delivered too often before it was
        // adopted: a bystander. The rule is the workers'.
        Decoded::Foreign(foreign) => {
            match admits(&*relay.store, &relay.queues, &foreign.kind, queue).await? {
                Ok(()) => {
                    let job = foreign.into_job(queue.clone(), Priority::Normal);
                    let me = relay.liveness.me();
                    relay.store.insert(me, &[job], Duration::ZERO).await?;
                    return Ok(true);
                }
                Err(junk) => junk,
            }
        }
        Decoded::Junk(junk) => junk,
    };
    let letter = DeadLetter {
        id,
        ..DeadLetter::of_junk(message, queue, &junk)
    };
    let me = relay.liveness.me();
    relay.store.insert_dead(me, &[letter]).await?;
    Ok(true)
}

async fn republish(relay: &Relay, letter: &Publication) -> StoreResult<bool> {
    let Some(live) = relay.store.publication(letter.id, letter.dispatch).await? else {
        return Ok(true); // dead in the store, or stale: recorded there already
    };
    let answers = relay.broker.publish(std::slice::from_ref(&live)).await;
    Ok(answers.iter().all(Result::is_ok))
}
