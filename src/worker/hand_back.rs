use super::claim::Step;
use super::executor::Executor;
use crate::broker::Delivery;
use crate::job::{Decoded, Disposition, Message, Priority, Publication, decode, dispose};
use crate::store::HandedBack;

/// A paused queue: what was delivered and not started goes back by way of the outbox, where it
/// waits on the broker, however long the pause. It is not kept in hand, where it would run into
/// the broker's consumer timeout; nor given back to the broker unread, which counts towards its
/// delivery limit.
///
/// **Invariant:** a delivery is acknowledged only when its dispatch is in the outbox, or when
/// the store's row says that nothing is left to deliver. One that the store has forgotten (a
/// failover or restore lost the commit) may be all that is left of its job.
impl Executor {
    /// Hands back what the consumers of a paused queue left; returns how much.
    pub(super) async fn hand_back_all(&self, left: Vec<(Delivery, Priority)>) -> usize {
        let (mut dispatches, mut deliveries) = (Vec::new(), Vec::new());
        for (delivery, priority) in left {
            match decode(&delivery.message, &self.queue, priority) {
                Decoded::Ours(publication) => {
                    dispatches.push((publication.id, publication.dispatch));
                    deliveries.push((delivery, publication));
                }
                // Not a job of the store's yet: only the broker has it.
                Decoded::Foreign(_) | Decoded::Junk(_) => delivery.release(),
            }
        }
        let answers = match self.store.hand_back(&dispatches).await {
            Ok(answers) => answers,
            Err(error) => {
                not_handed_back(&error);
                Vec::new()
            }
        };
        let mut handed_back = 0;
        let mut answers = answers.into_iter();
        for (delivery, publication) in deliveries {
            let settled = match answers.next() {
                Some(answer) => self.let_go(&publication, &delivery.message, answer).await,
                None => None,
            };
            // A crash before this brings the message again: duplicates are fenced.
            match settled {
                Some(()) => {
                    handed_back += 1;
                    delivery.ack();
                }
                None => delivery.release(),
            }
        }
        handed_back
    }

    /// Hands back a delivery of a queue that was paused after it came, perhaps while it was
    /// parked. `None` if that failed: it must be released.
    pub(super) async fn hand_back(
        &self,
        publication: &Publication,
        message: &Message,
    ) -> Option<()> {
        let answer = self.ask(publication).await?;
        self.let_go(publication, message, answer).await
    }

    /// Until the delivery may be acknowledged.
    async fn let_go(
        &self,
        publication: &Publication,
        message: &Message,
        mut answer: HandedBack,
    ) -> Option<()> {
        while let HandedBack::Not(standing) = answer {
            match dispose(standing.as_ref(), publication.dispatch, self.liveness.me()) {
                Disposition::Restore => match self.restore(publication, message).await? {
                    // Entered in the store again: now it can be handed back.
                    Step::Again(_) | Step::Won(_) => {}
                    Step::Drop => return Some(()),
                },
                // `queued` again since it was looked for.
                Disposition::NotAllowed => {}
                // Stale; or a run's, whose end, rescue or reconciliation sends what is needed.
                Disposition::Drop | Disposition::Park(_) | Disposition::Ours { .. } => {
                    return Some(());
                }
            }
            answer = self.ask(publication).await?;
        }
        Some(())
    }

    async fn ask(&self, publication: &Publication) -> Option<HandedBack> {
        let dispatch = (publication.id, publication.dispatch);
        match self.store.hand_back(&[dispatch]).await {
            Ok(mut answers) => answers.pop(),
            Err(error) => {
                not_handed_back(&error);
                None
            }
        }
    }
}

fn not_handed_back(error: &crate::store::StoreError) {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "could not hand back through the store; the broker takes it back"
    );
}

#[cfg(test)]
mod tests;
