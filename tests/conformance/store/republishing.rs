use chrono::TimeDelta;
use longshore::job::Priority;
use longshore::store::OutboxEntry;

use super::world::{
    LONG, World, ZERO, eventually, ids, job_after, job_in, new_job, new_jobs, published, queue,
    retry,
};

/// What of `email` is republished, as if its grace period were over.
async fn republished(world: &World, limit: u32) -> Option<OutboxEntry> {
    let store = &world.store;
    store
        .republish(&queue("email"), ZERO, None, limit, LONG)
        .await
        .unwrap()
}

pub(crate) async fn what_waits_too_long_is_published_again(world: &World) {
    let mut jobs = new_jobs(2);
    jobs[1].priority = Priority::High;
    world.accept(&jobs).await;
    let patient = world
        .store
        .republish(&queue("email"), LONG, None, 10, LONG)
        .await;
    assert!(patient.unwrap().is_none(), "they have not waited an hour");
    let entry = eventually(async || republished(world, 10).await).await;
    let mut again = published(&entry.publications);
    again.sort();
    assert_eq!(again, [(jobs[0].id, 1), (jobs[1].id, 1)]);
    for publication in &entry.publications {
        let high = publication.id == jobs[1].id;
        assert_eq!(publication.priority.is_high(), high, "each in its own lane");
    }
    assert!(
        world.leased().await.is_empty(),
        "it is leased to the caller"
    );
    world.won(jobs[0].id, 1).await;
}

pub(crate) async fn a_republished_job_waits_anew(world: &World) {
    let id = world.queued().await;
    let before = world.store.now().await.unwrap();
    eventually(async || republished(world, 10).await).await;
    let again = world
        .store
        .republish(&queue("email"), ZERO, Some(before), 10, LONG)
        .await;
    assert!(again.unwrap().is_none());
    assert!(world.won(id, 1).await.queued_at >= before);
}

pub(crate) async fn only_queued_jobs_of_the_queue_are_republished(world: &World) {
    world.running().await;
    world.ended(new_job(), retry(LONG)).await;
    world
        .accept(&[job_after(LONG), job_in("payment.charge", "payment")])
        .await;
    let queued = world.queued().await;
    let entry = eventually(async || republished(world, 10).await).await;
    assert_eq!(published(&entry.publications), [(queued, 1)]);
}

pub(crate) async fn only_what_was_queued_before_the_moment_is_republished(world: &World) {
    let early = world.queued().await;
    let queued_at = world.view(early).await.created_at;
    let since = |before| {
        let store = &world.store;
        let queue = queue("email");
        async move {
            store
                .republish(&queue, ZERO, Some(before), 10, LONG)
                .await
                .unwrap()
        }
    };
    assert!(since(queued_at).await.is_none());
    let moment = queued_at + TimeDelta::microseconds(1);
    let late = eventually(async || {
        let job = new_job();
        world.accept(std::slice::from_ref(&job)).await;
        (world.view(job.id).await.created_at > moment).then_some(job.id)
    })
    .await;
    let entry = eventually(async || since(moment).await).await;
    let again = published(&entry.publications);
    assert!(again.contains(&(early, 1)) && !again.contains(&(late, 1)));
}

pub(crate) async fn republishing_has_a_limit(world: &World) {
    let jobs = new_jobs(5);
    world.accept(&jobs).await;
    let mut again = Vec::new();
    let horizon = eventually(async || {
        let last = world.view(jobs[4].id).await.created_at;
        let now = world.store.now().await.unwrap();
        (now > last + TimeDelta::milliseconds(1)).then_some(now)
    })
    .await;
    for expected in [2, 2, 1, 0] {
        let entry = world
            .store
            .republish(&queue("email"), ZERO, Some(horizon), 2, LONG)
            .await
            .unwrap();
        let found = entry.map_or_else(Vec::new, |entry| published(&entry.publications));
        assert_eq!(found.len(), expected);
        again.extend(found.into_iter().map(|(id, _)| id));
    }
    again.sort();
    assert_eq!(again, ids(&jobs));
}
