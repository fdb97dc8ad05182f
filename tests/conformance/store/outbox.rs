use std::collections::HashSet;

use longshore::job::NewJob;
use longshore::store::OutboxId;

use super::world::{
    LONG, World, ZERO, at_once, die, eventually, ids, new_job, new_jobs, patiently, published,
};

/// Inserts jobs whose entry can be leased at once.
async fn lapsed(world: &World, jobs: &[NewJob]) -> OutboxId {
    let insertion = world.store.insert(world.process, jobs, ZERO).await.unwrap();
    insertion.outbox.unwrap()
}

pub(crate) async fn a_fresh_entry_belongs_to_its_inserter(world: &World) {
    assert_eq!(world.store.outbox_age().await.unwrap(), None);
    world.queued().await;
    assert!(world.leased().await.is_empty());
    assert!(
        world.store.outbox_age().await.unwrap().is_none(),
        "leased, so no backlog"
    );
}

pub(crate) async fn a_lapsed_entry_goes_to_who_asks(world: &World) {
    let jobs = new_jobs(3);
    let id = lapsed(world, &jobs).await;
    assert!(world.store.outbox_age().await.unwrap().is_some());
    for _ in 0..2 {
        let entries = world.store.lease_outbox(10, ZERO).await.unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].id, id);
        let publications = &entries[0].publications;
        let expected: Vec<_> = ids(&jobs).into_iter().map(|id| (id, 1)).collect();
        assert_eq!(published(publications), expected);
        assert_eq!(publications[0].payload, jobs[0].payload);
        assert_eq!(publications[0].kind, jobs[0].kind);
        assert_eq!(publications[0].queue, jobs[0].queue);
    }
    let before = world.store.now().await.unwrap();
    assert_eq!(world.leased().await.len(), 1);
    assert!(world.leased().await.is_empty(), "the last lease is long");
    let queue = &jobs[0].queue;
    let republish = world.store.republish(queue, ZERO, Some(before), 10, LONG);
    assert!(
        republish.await.unwrap().is_none(),
        "what is published only now has not been waiting since it was accepted"
    );
}

pub(crate) async fn a_settled_entry_is_gone(world: &World) {
    let first = lapsed(world, &new_jobs(2)).await;
    let second = lapsed(world, &new_jobs(2)).await;
    world.store.settle_outbox(&[first]).await.unwrap();
    world.store.settle_outbox(&[first]).await.unwrap();
    let entries = world.leased().await;
    assert_eq!(entries.iter().map(|e| e.id).collect::<Vec<_>>(), [second]);
    world.store.settle_outbox(&[second, first]).await.unwrap();
    assert_eq!(world.store.outbox_age().await.unwrap(), None);
}

pub(crate) async fn only_what_is_still_queued_is_published(world: &World) {
    let jobs = new_jobs(3);
    lapsed(world, &jobs).await;
    world.won(jobs[1].id, 1).await;
    let entries = world.leased().await;
    assert_eq!(
        published(&entries[0].publications),
        [(jobs[0].id, 1), (jobs[2].id, 1)]
    );
}

pub(crate) async fn an_older_dispatch_is_not_published(world: &World) {
    let jobs = new_jobs(2);
    let first = lapsed(world, &jobs).await;
    let claimed = world.won(jobs[0].id, 1).await;
    assert!(world.record(jobs[0].id, &claimed, die("x")).await);
    let requeued = world.requeue_dead(&Default::default(), 10, ZERO).await;
    let requeued = requeued.unwrap();
    let entries = world.leased().await;
    let found: Vec<_> = entries
        .iter()
        .map(|e| (e.id, published(&e.publications)))
        .collect();
    assert_eq!(
        found,
        [
            (first, vec![(jobs[1].id, 1)]),
            (requeued.id, vec![(jobs[0].id, 2)])
        ]
    );
}

pub(crate) async fn an_entry_with_nothing_left_is_deleted(world: &World) {
    let jobs = new_jobs(2);
    lapsed(world, &jobs).await;
    for job in &jobs {
        world.won(job.id, 1).await;
    }
    assert!(world.store.outbox_age().await.unwrap().is_some());
    assert!(world.leased().await.is_empty());
    assert_eq!(world.store.outbox_age().await.unwrap(), None);
}

pub(crate) async fn the_oldest_entries_come_first(world: &World) {
    let mut inserted = Vec::new();
    for _ in 0..5 {
        inserted.push(lapsed(world, &new_jobs(1)).await);
    }
    for expected in [&inserted[..2], &inserted[2..4], &inserted[4..], &[]] {
        let leased = world.store.lease_outbox(2, LONG).await.unwrap();
        let leased: Vec<OutboxId> = leased.into_iter().map(|entry| entry.id).collect();
        assert_eq!(leased, expected);
    }
}

pub(crate) async fn the_limit_is_not_spent_on_empty_entries(world: &World) {
    for _ in 0..3 {
        let job = new_job();
        lapsed(world, std::slice::from_ref(&job)).await;
        world.won(job.id, 1).await;
    }
    let full = lapsed(world, &new_jobs(1)).await;
    // A store may take more than one call to sweep the empty ones away, but it must come to
    // the full one although each call may look at one entry only.
    let found = eventually(async || {
        let leased = world.store.lease_outbox(1, LONG).await.unwrap();
        leased.into_iter().next()
    })
    .await;
    assert_eq!(found.id, full);
}

pub(crate) async fn an_entry_goes_to_one_of_many(world: &World) {
    let mut inserted = HashSet::new();
    for _ in 0..20 {
        inserted.insert(lapsed(world, &new_jobs(2)).await);
    }
    let leased = at_once(world, 10, |store, _| async move {
        let mut mine = Vec::new();
        for _ in 0..5 {
            mine.extend(patiently(|| store.lease_outbox(3, LONG)).await);
        }
        mine
    })
    .await;
    let mut leased: Vec<_> = leased.into_iter().flatten().collect();
    // SKIP LOCKED may have shown every caller's last look nothing.
    leased.extend(world.leased().await);
    let leased: Vec<OutboxId> = leased.into_iter().map(|entry| entry.id).collect();
    assert_eq!(leased.len(), 20, "none twice");
    assert_eq!(leased.into_iter().collect::<HashSet<_>>(), inserted);
}
