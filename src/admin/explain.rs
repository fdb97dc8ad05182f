use std::time::Duration;

use crate::job::{JobView, State, WaitReason, WaitingFor};
use crate::store::{Report, Reported, Store, StoreResult};

/// How far those in front are counted.
const CAP: u32 = 1000;
/// How long the broker's confirmation may take before it is told to be awaited.
const CONFIRMATION: Duration = Duration::from_secs(2);
/// A worker beats every 2 s; one that has been silent this long is told to be lost. It is
/// declared dead after 10 s.
const SILENT: Duration = Duration::from_secs(6);

/// Says of one job why it is not running now, beyond what its row tells. A few bounded
/// questions to the store; none for a job that has come to its end.
///
/// # Errors
/// The store's.
pub async fn explain(store: &dyn Store, job: &mut JobView) -> StoreResult<()> {
    let waiting = match job.state {
        State::Queued => queued(store, job).await?,
        State::Running => lost(store, job).await?,
        _ => return Ok(()),
    };
    // `None`: it has moved on since it was read, and the row's own word stands.
    if waiting.is_some() {
        job.waiting_for = waiting;
    }
    Ok(())
}

async fn queued(store: &dyn Store, job: &JobView) -> StoreResult<Option<WaitingFor>> {
    let pauses = store.paused().await?;
    if let Some(pause) = pauses.iter().find(|p| p.queue == job.queue.as_str()) {
        let since = pause.since.format("%Y-%m-%dT%H:%M:%SZ");
        let message = format!(
            "queue {} is paused since {since} by {}",
            job.queue, pause.by
        );
        return Ok(Some(WaitingFor::new(WaitReason::QueuePaused, message)));
    }
    let reports = store.reports().await?;
    if let Some(waiting) = untaken(&reports, job) {
        return Ok(Some(waiting));
    }
    let Some(place) = store.place(job.id, CAP).await? else {
        return Ok(None);
    };
    if let Some(age) = place.unpublished.filter(|age| *age > CONFIRMATION) {
        let message = format!("the broker has not confirmed it for {} s", age.as_secs());
        return Ok(Some(WaitingFor::new(WaitReason::AwaitingPublish, message)));
    }
    let message = match (place.behind, place.or_more) {
        (0, true) => "waiting for a free worker".to_owned(),
        (0, false) => "next, once a worker has a free slot".to_owned(),
        (n, true) => format!("behind {n} others or more"),
        (1, false) => "behind 1 other".to_owned(),
        (n, false) => format!("behind {n} others"),
    };
    Ok(Some(WaitingFor {
        behind: Some(place.behind),
        ..WaitingFor::new(WaitReason::Behind, message)
    }))
}

/// Who takes the kind from another queue (it has been moved) takes none of this one.
fn untaken(reports: &[Reported], job: &JobView) -> Option<WaitingFor> {
    let takes = |report: &Report| {
        report.capacity > 0 && report.queue == job.queue && report.kinds.contains(&job.kind)
    };
    let mut takers = reports
        .iter()
        .map(|told| &told.report)
        .filter(|report| takes(report))
        .peekable();
    if takers.peek().is_none() {
        let message = format!("no live worker takes {} from queue {}", job.kind, job.queue);
        return Some(WaitingFor::new(WaitReason::NoWorker, message));
    }
    let takers: Vec<&Report> = takers.collect();
    let flowing = takers.iter().any(|report| report.breaker == "closed");
    (!flowing).then(|| {
        let error = takers
            .iter()
            .find_map(|report| report.breaker_error.as_ref());
        let why = error.map(|error| format!(": {error}")).unwrap_or_default();
        let message = format!(
            "queue {} waits for what its jobs need, which is down{why}",
            job.queue
        );
        WaitingFor::new(WaitReason::DependencyDown, message)
    })
}

async fn lost(store: &dyn Store, job: &JobView) -> StoreResult<Option<WaitingFor>> {
    let silence = store.silence(job.id).await?;
    Ok(silence.filter(|silence| *silence > SILENT).map(|silence| {
        let seconds = silence.as_secs();
        let message = format!(
            "its worker has been silent for {seconds} s; the job runs again elsewhere once that \
             one is declared dead"
        );
        WaitingFor::new(WaitReason::OwnerLost, message)
    }))
}
