use super::executor::Executor;
use super::slots::Slot;
use crate::job::{
    Claimed, Disposition, ErrorClass, JobError, JobId, Message, Publication, dispose,
};
use crate::liveness::Fate;
use crate::store::{Claim, ClaimRequest, DeadLetter};
use std::time::Duration;

/// How long to wait before asking again when this process may not claim.
const NOT_ALLOWED_PAUSE: Duration = Duration::from_millis(500);

/// One step of the claim loop.
pub(super) enum Step {
    /// Ours to run.
    Won(Claimed),
    /// Nothing to do for this delivery.
    Drop,
    /// Ask again, perhaps over an epoch of our own.
    Again(Option<i32>),
}

impl Executor {
    /// Works through the claim table until the delivery is ours (`Some(Some)`), nobody's
    /// business (`Some(None)`), or the process is stopping (`None`).
    pub(super) async fn claim(
        &self,
        publication: &Publication,
        message: &Message,
        slot: &mut Slot,
    ) -> Option<Option<Claimed>> {
        let mut over_epoch = None;
        loop {
            self.may_claim().await?;
            if !self.gate.is_open() {
                return self.hand_back(publication, message).await.map(|()| None);
            }
            let request = ClaimRequest {
                id: publication.id,
                dispatch: publication.dispatch,
                over_epoch,
            };
            match self.step(publication, message, request, slot).await? {
                Step::Won(claimed) => return Some(Some(claimed)),
                Step::Drop => return Some(None),
                Step::Again(epoch) => over_epoch = epoch,
            }
        }
    }

    /// Waits until this process's beat is young enough to claim; `None` if it is draining.
    async fn may_claim(&self) -> Option<()> {
        loop {
            if self.draining.is_cancelled() {
                return None;
            }
            if self.liveness.fresh() {
                return Some(());
            }
            let nap = tokio::time::sleep(NOT_ALLOWED_PAUSE);
            self.draining.run_until_cancelled(nap).await?;
        }
    }

    async fn step(
        &self,
        publication: &Publication,
        message: &Message,
        request: ClaimRequest,
        slot: &mut Slot,
    ) -> Option<Step> {
        let standing = match self.ledger.claim(request).await? {
            Claim::Won(claimed) => return Some(Step::Won(claimed)),
            Claim::Lost(standing) => standing,
        };
        let me = self.liveness.me();
        match dispose(standing.as_ref(), publication.dispatch, me) {
            Disposition::Drop => Some(Step::Drop),
            Disposition::Park(owner) => {
                slot.give_back();
                let fate = self
                    .draining
                    .run_until_cancelled(self.liveness.fate(owner))
                    .await?;
                slot.take_again().await;
                Some(match fate {
                    Fate::Alive => Step::Drop,
                    Fate::Gone => Step::Again(None),
                })
            }
            Disposition::Ours { epoch } => {
                if self.running.runs(publication.id, me, epoch) {
                    Some(Step::Drop)
                } else {
                    Some(Step::Again(Some(epoch)))
                }
            }
            Disposition::NotAllowed => {
                let nap = tokio::time::sleep(NOT_ALLOWED_PAUSE);
                self.draining.run_until_cancelled(nap).await?;
                Some(Step::Again(None))
            }
            Disposition::Restore => self.restore(publication, message).await,
        }
    }

    /// The store has forgotten a dispatch that the broker still has. Young ones were lost in a
    /// failover or restore and are entered again; old ones may have been pruned after they ran,
    /// and running them again could repeat an effect: those become dead letters.
    pub(super) async fn restore(
        &self,
        publication: &Publication,
        message: &Message,
    ) -> Option<Step> {
        let young = age(publication.id).is_some_and(|age| age < self.memory);
        if young {
            return match self.store.restore(self.liveness.me(), publication).await {
                Ok(true) => {
                    tracing::warn!(job.id = %publication.id, "the store had lost this dispatch; entered again");
                    Some(Step::Again(None))
                }
                Ok(false) => Some(Step::Drop),
                // Nothing that can be entered: its dispatch is forged or garbled.
                Err(error) if error.is_data() => Some(Step::Drop),
                Err(error) => self.restore_failed(&error).await,
            };
        }
        let letter = DeadLetter {
            id: publication.id,
            kind: publication.kind.to_string(),
            queue: self.queue.clone(),
            payload: message.body.to_vec(),
            unique: None,
            error: JobError::new(
                ErrorClass::Invalid,
                "orphaned",
                "a message older than the shortest retention names a job that the store does not know",
            ),
        };
        match self.store.insert_dead(self.liveness.me(), &[letter]).await {
            Ok(()) => Some(Step::Drop),
            Err(error) if error.is_data() => Some(Step::Drop),
            Err(error) => self.restore_failed(&error).await,
        }
    }

    async fn restore_failed(&self, error: &crate::store::StoreError) -> Option<Step> {
        self.liveness.report("restoring a dispatch", error);
        let nap = tokio::time::sleep(NOT_ALLOWED_PAUSE);
        self.draining.run_until_cancelled(nap).await?;
        Some(Step::Again(None))
    }
}

/// How old a job is by its id, on this machine's clock; `None` for an id from the future.
fn age(id: JobId) -> Option<Duration> {
    let (seconds, nanos) = id.uuid().get_timestamp()?.to_unix();
    let made = std::time::UNIX_EPOCH + Duration::new(seconds, nanos);
    // A slightly fast clock elsewhere must not make a young job an orphan.
    match std::time::SystemTime::now().duration_since(made) {
        Ok(age) => Some(age),
        Err(ahead) if ahead.duration() < Duration::from_secs(3600) => Some(Duration::ZERO),
        Err(_) => None,
    }
}
