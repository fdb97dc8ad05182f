use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::running::Running;
use crate::job::{ErrorClass, JobError, Transition};
use crate::liveness::Liveness;
use crate::store::{Claim, ClaimRequest, GroupCommit, Record, Store, StoreError};

/// Claims or records in one transaction at most.
const BATCH: usize = 500;
/// First and last pause between two tries at a store that does not answer.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The worker's two writes, group-committed and stubborn: they are tried until the store
/// answers or `give_up` fires.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    claims: GroupCommit<ClaimRequest, Claim>,
    records: GroupCommit<Record, bool>,
    liveness: Arc<Liveness>,
    give_up: CancellationToken,
}

impl Ledger {
    pub(super) fn start(
        store: Arc<dyn Store>,
        liveness: Arc<Liveness>,
        running: Arc<Running>,
        give_up: CancellationToken,
    ) -> Self {
        let (claiming, claimant) = (store.clone(), liveness.clone());
        let claims = GroupCommit::spawn(BATCH, move |batch: Arc<[ClaimRequest]>| {
            let (store, me) = (claiming.clone(), claimant.me());
            let running = running.clone();
            async move {
                let claims = store.claim(me, &batch).await?;
                // Before any answer is sent: of two copies of one dispatch in this batch, the
                // one that lost may be woken first, and must see that the other one runs.
                for (request, claim) in batch.iter().zip(&claims) {
                    if let Claim::Won(won) = claim {
                        running.won(request.id, won.owner, won.epoch);
                    }
                }
                Ok(claims)
            }
        });
        let records = GroupCommit::spawn(BATCH, move |batch: Arc<[Record]>| {
            let store = store.clone();
            async move { store.record(&batch).await }
        });
        Self {
            claims,
            records,
            liveness,
            give_up,
        }
    }

    /// Asks for a dispatch; `None` if the process is stopping.
    ///
    /// A claim that committed but whose answer was lost is found by the next try: the row is
    /// ours, and the caller claims over it.
    pub(super) async fn claim(&self, request: ClaimRequest) -> Option<Claim> {
        let mut pause = Pause::default();
        loop {
            let answer = self.claims.submit(request);
            match self.give_up.run_until_cancelled(answer).await? {
                Ok(claim) => return Some(claim),
                Err(error) => self.wait(&mut pause, "claiming", &error).await?,
            }
        }
    }

    /// Writes the end of a run. `Some(false)`: the claim was lost and the result refused; also
    /// when an earlier try committed and its answer was lost, which is no harm. `None`: the
    /// process is stopping and the end is not known to be written.
    pub(super) async fn record(&self, mut record: Record) -> Option<bool> {
        let mut pause = Pause::default();
        loop {
            let answer = self.records.submit(record.clone());
            match self.give_up.run_until_cancelled(answer).await? {
                Ok(kept) => return Some(kept),
                // The run has ended and its end cannot be stored as it is, now or ever. Dead
                // with the reason is the only end that loses nothing and repeats nothing.
                Err(error) if error.is_data() => {
                    record.transition = unstorable(&error);
                    self.wait(&mut pause, "recording the end of a run", &error)
                        .await?;
                }
                Err(error) => {
                    self.wait(&mut pause, "recording the end of a run", &error)
                        .await?;
                }
            }
        }
    }

    async fn wait(&self, pause: &mut Pause, what: &str, error: &StoreError) -> Option<()> {
        self.liveness.report(what, error);
        let nap = tokio::time::sleep(pause.next());
        self.give_up.run_until_cancelled(nap).await
    }
}

fn unstorable(error: &StoreError) -> Transition {
    let message = format!("the end of the run cannot be stored: {error}");
    Transition::Die {
        error: JobError::new(ErrorClass::Permanent, "unstorable_result", &message),
    }
}

#[derive(Debug)]
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(PAUSE.0)
    }
}

impl Pause {
    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE.1);
        pause
    }
}
