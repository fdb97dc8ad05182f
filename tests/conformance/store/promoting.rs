use std::collections::HashSet;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use longshore::job::{JobId, NewJob, Start, State};

use super::world::{
    LONG, World, ZERO, at_once, eventually, job_after, new_job, patiently, postpone, published,
    retry,
};

/// Long enough to be scheduled, short enough to wait for.
const SOON: Duration = Duration::from_millis(40);

pub(crate) async fn nothing_is_promoted_before_it_is_due(world: &World) {
    assert!(world.store.promote_due(10, LONG).await.unwrap().is_none());
    let later = job_after(LONG);
    world.accept(std::slice::from_ref(&later)).await;
    let retrying = world.ended(new_job(), retry(LONG)).await;
    world.queued().await;
    assert!(world.store.promote_due(10, LONG).await.unwrap().is_none());
    assert_eq!(world.view(later.id).await.state, State::Scheduled);
    assert_eq!(world.view(retrying).await.state, State::Retrying);
}

pub(crate) async fn a_due_job_is_queued_as_a_new_dispatch(world: &World) {
    let job = job_after(SOON);
    world.accept(std::slice::from_ref(&job)).await;
    let entry = world.promoted().await;
    assert_eq!(published(&entry.publications), [(job.id, 1)]);
    assert_eq!(entry.publications[0].payload, job.payload);
    assert!(world.store.promote_due(10, LONG).await.unwrap().is_none());
    assert!(
        world.leased().await.is_empty(),
        "it is leased to the promoter"
    );
    assert!(
        world.store.outbox_age().await.unwrap().is_none(),
        "leased, so no backlog"
    );
    let view = world.view(job.id).await;
    assert_eq!((view.state, view.run_at), (State::Queued, None));
    let claimed = world.won(job.id, 1).await;
    assert!(claimed.queued_at >= claimed.created_at + TimeDelta::from_std(SOON).unwrap());
}

pub(crate) async fn a_due_retry_is_queued_as_a_new_dispatch(world: &World) {
    let retried = world.ended(new_job(), retry(ZERO)).await;
    let postponed = world.ended(new_job(), postpone(ZERO)).await;
    let mut promoted = published(&world.promoted().await.publications);
    if promoted.len() == 1 {
        promoted.extend(published(&world.promoted().await.publications));
    }
    promoted.sort();
    assert_eq!(promoted, [(retried, 2), (postponed, 2)]);
    assert_eq!(world.lost(retried, 1).await.dispatch, 2, "1 is stale now");
    assert_eq!(world.won(retried, 2).await.failures, 1);
    assert_eq!(world.won(postponed, 2).await.failures, 0);
}

pub(crate) async fn the_most_overdue_go_first(world: &World) {
    let base = Utc::now() + TimeDelta::milliseconds(200);
    let jobs: Vec<NewJob> = [3, 1, 2]
        .map(|n| NewJob {
            start: Start::At(base + TimeDelta::milliseconds(n)),
            ..new_job()
        })
        .to_vec();
    world.accept(&jobs).await;
    eventually(async || {
        let due = base + TimeDelta::milliseconds(10);
        (world.store.now().await.unwrap() > due).then_some(())
    })
    .await;
    for expected in [jobs[1].id, jobs[2].id, jobs[0].id] {
        let entry = world.store.promote_due(1, LONG).await.unwrap().unwrap();
        assert_eq!(published(&entry.publications), [(expected, 1)]);
    }
}

pub(crate) async fn each_job_is_promoted_once(world: &World) {
    let jobs: Vec<NewJob> = (0..60).map(|_| job_after(SOON)).collect();
    world.accept(&jobs).await;
    let promoted = at_once(world, 10, |store, _| async move {
        let mut mine: Vec<(JobId, i32)> = Vec::new();
        for _ in 0..20 {
            let entry = patiently(|| store.promote_due(7, LONG)).await;
            mine.extend(
                entry
                    .iter()
                    .flat_map(|entry| published(&entry.publications)),
            );
            tokio::time::sleep(SOON / 10).await;
        }
        mine
    })
    .await;
    let mut promoted = promoted.concat();
    while promoted.len() < jobs.len() {
        promoted.extend(published(&world.promoted().await.publications));
    }
    assert_eq!(promoted.len(), 60);
    assert!(promoted.iter().all(|(_, dispatch)| *dispatch == 1));
    let distinct: HashSet<_> = promoted.into_iter().collect();
    assert_eq!(distinct.len(), 60);
}
