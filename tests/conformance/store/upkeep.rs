use longshore::job::{NewJob, State, Transition};
use longshore::store::{JobFilter, Retention, Tally};

use super::world::{
    LONG, World, ZERO, die, in_state, job_after, job_in, new_job, new_jobs, postpone, queue, retry,
    succeed,
};

fn keep(name: Option<&str>, finished: std::time::Duration, dead: std::time::Duration) -> Retention {
    Retention {
        queue: name.map(queue),
        finished,
        dead,
    }
}

pub(crate) async fn what_is_finished_goes_when_its_time_is_over(world: &World) {
    let succeeded = world.ended(new_job(), succeed()).await;
    let dead = world.ended(new_job(), die("x")).await;
    let fallback = keep(None, LONG, LONG);
    assert_eq!(world.store.prune(&[], &fallback).await.unwrap(), 0);
    assert_eq!(world.view(dead).await.attempts().len(), 1);
    assert_eq!(world.prune_all().await, 2);
    for id in [succeeded, dead] {
        assert!(world.store.job(id).await.unwrap().is_none());
    }
    assert_eq!(world.store.finished(&[dead]).await.unwrap(), [dead]);
    assert_eq!(world.prune_all().await, 0);
}

pub(crate) async fn the_live_are_never_pruned(world: &World) {
    let scheduled = job_after(LONG);
    world.accept(std::slice::from_ref(&scheduled)).await;
    world.ended(new_job(), retry(LONG)).await;
    world.ended(new_job(), postpone(LONG)).await;
    let (_, claimed) = world.running().await;
    world.queued().await;
    let revived = world.ended(new_job(), die("x")).await;
    let requeued = world.requeue_dead(&JobFilter::default(), 1, LONG).await;
    assert!(requeued.is_some());
    assert_eq!(world.prune_all().await, 0);
    assert_eq!(world.list(JobFilter::default()).await.len(), 6);
    assert_eq!(world.view(revived).await.attempts().len(), 1);
    assert_eq!(claimed.epoch, 1);
}

pub(crate) async fn retentions_are_per_queue_and_state(world: &World) {
    let ends = [succeed(), die("x")];
    let mut left = Vec::new();
    for name in ["email", "payment", "stock"] {
        for end in &ends {
            left.push(world.ended(job_in("a.b", name), end.clone()).await);
        }
    }
    let retentions = [
        keep(Some("email"), ZERO, LONG),
        keep(Some("payment"), LONG, ZERO),
    ];
    let pruned = world
        .store
        .prune(&retentions, &keep(None, LONG, LONG))
        .await;
    assert_eq!(pruned.unwrap(), 2);
    let mut found = world.list(JobFilter::default()).await;
    found.reverse();
    assert_eq!(found, [left[1], left[2], left[4], left[5]]);
    let pruned = world
        .store
        .prune(&retentions, &keep(None, ZERO, ZERO))
        .await;
    assert_eq!(
        pruned.unwrap(),
        2,
        "the fallback is for the queues that are not named"
    );
    let mut found = world.list(JobFilter::default()).await;
    found.reverse();
    assert_eq!(found, [left[1], left[2]]);
}

pub(crate) async fn pruned_jobs_stay_in_the_balance(world: &World) {
    for _ in 0..3 {
        for end in [succeed(), die("x")] {
            world.ended(new_job(), end).await;
        }
        world.queued().await;
        world.prune_all().await;
        world.balanced().await;
    }
    let tally = world.store.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.pruned, tally.live), (9, 6, 3));
    let heir = world.register("host/2").await;
    world.store.retire(world.process).await.unwrap();
    world.store.retire(heir).await.unwrap();
    assert_eq!(world.store.tally().await.unwrap(), tally);
}

pub(crate) async fn the_balance_sheet_tells_every_state(world: &World) {
    assert_eq!(world.store.tally().await.unwrap(), Tally::default());
    world.accept(&new_jobs(2)).await;
    world
        .accept(&[
            job_after(LONG),
            NewJob::new("a.b".parse().unwrap(), queue("stock"), "1"),
        ])
        .await;
    world.running().await;
    for (count, end) in [
        (2, retry(LONG)),
        (3, succeed()),
        (1, die("x")),
        (1, Transition::HandBack),
    ] {
        for _ in 0..count {
            world.ended(new_job(), end.clone()).await;
        }
    }
    let expected = Tally {
        accepted: 12,
        live: 8,
        succeeded: 3,
        dead: 1,
        cancelled: 0,
        pruned: 0,
    };
    assert_eq!(world.store.tally().await.unwrap(), expected);
    assert_eq!(world.list(in_state(State::Dead)).await.len(), 1);
}
