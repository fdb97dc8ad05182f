use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::running::Running;
use crate::job::{JobId, Transition};
use crate::liveness::{Liveness, Pace};
use crate::store::{Record, Store, StoreResult};

/// How often what the store says we own is compared with what we run.
const EVERY: Duration = Duration::from_secs(3);
/// And at least so often.
const LONGEST: Duration = Duration::from_secs(10);

/// Hands back what this process owns but does not run: a claim committed and its answer was
/// lost. Only what two looks in a row find, with no claim or outcome in flight, since a look is
/// not one moment: a claim may commit between the two tables.
pub(super) async fn reconcile(
    store: Arc<dyn Store>,
    liveness: Arc<Liveness>,
    running: Arc<Running>,
) {
    let mut suspected = BTreeSet::new();
    let (mut pace, mut rest) = (Pace::new(EVERY, LONGEST), EVERY);
    loop {
        tokio::time::sleep(rest).await;
        let began = Instant::now();
        match look(&*store, &liveness, &running, &suspected).await {
            Ok(found) => suspected = found,
            Err(error) => {
                suspected.clear();
                liveness.report("comparing running jobs with the store", &error);
            }
        }
        rest = pace.rest(began.elapsed());
    }
}

async fn look(
    store: &dyn Store,
    liveness: &Liveness,
    running: &Running,
    before: &BTreeSet<(JobId, i32)>,
) -> StoreResult<BTreeSet<(JobId, i32)>> {
    let owner = liveness.me();
    let strangers: BTreeSet<_> = store
        .owned(owner)
        .await?
        .into_iter()
        .filter(|(id, _)| !running.holds(*id))
        .collect();
    let records: Vec<Record> = strangers
        .intersection(before)
        .map(|&(id, epoch)| Record {
            id,
            owner,
            epoch,
            transition: Transition::HandBack,
        })
        .collect();
    if !records.is_empty() {
        tracing::warn!(
            jobs = records.len(),
            "handing back jobs that were claimed but never started"
        );
        store.record(&records).await?;
    }
    Ok(strangers)
}
