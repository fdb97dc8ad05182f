use longshore::job::{JobId, NewJob, State};
use longshore::store::{JobFilter, OutboxEntry};

use super::world::{
    LONG, World, at_once, die, in_state, job_in, new_job, postpone, published, queue, requeue_dead,
    retry, succeed,
};

async fn dead(world: &World, count: usize) -> Vec<JobId> {
    let mut dead = Vec::new();
    for _ in 0..count {
        dead.push(world.ended(new_job(), die("smtp_550")).await);
    }
    dead
}

async fn requeue(world: &World, filter: &JobFilter, limit: u32) -> Option<OutboxEntry> {
    world.requeue_dead(filter, limit, LONG).await
}

fn any() -> JobFilter {
    JobFilter::default()
}

pub(crate) async fn the_dead_are_requeued_oldest_first(world: &World) {
    let dead = dead(world, 5).await;
    for expected in [&dead[..2], &dead[2..4], &dead[4..]] {
        let entry = requeue(world, &any(), 2).await.unwrap();
        let expected: Vec<_> = expected.iter().map(|id| (*id, 2)).collect();
        assert_eq!(published(&entry.publications), expected);
    }
    assert!(requeue(world, &any(), 2).await.is_none());
    assert!(world.leased().await.is_empty(), "leased to the operator");
    assert!(world.list(in_state(State::Dead)).await.is_empty());
}

pub(crate) async fn a_requeued_job_starts_over(world: &World) {
    let job = NewJob {
        max_attempts: Some(2),
        ..new_job()
    };
    let id = job.id;
    let payload = job.payload.clone();
    world.ended(job, retry(std::time::Duration::ZERO)).await;
    world.promoted().await;
    let claimed = world.won(id, 2).await;
    assert!(world.record(id, &claimed, die("smtp_550")).await);
    assert_eq!(world.view(id).await.attempt, 2);
    let entry = requeue(world, &any(), 10).await.unwrap();
    assert_eq!(published(&entry.publications), [(id, 3)]);
    assert_eq!(entry.publications[0].payload, payload);
    let view = world.view(id).await;
    assert_eq!(view.state, State::Queued);
    assert_eq!((view.attempt, view.finished_at), (2, None));
    assert_eq!(view.attempts().len(), 2, "the attempts stay on record");
    let again = world.won(id, 3).await;
    assert_eq!((again.failures, again.crashes), (0, 0));
    assert_eq!((claimed.earlier_failures, again.earlier_failures), (0, 2));
    assert_eq!(again.epoch, claimed.epoch + 1);
    assert_eq!((again.max_attempts, again.postponed_for), (Some(2), None));
}

pub(crate) async fn attempts_are_numbered_on(world: &World) {
    let id = dead(world, 1).await[0];
    requeue(world, &any(), 10).await.unwrap();
    let claimed = world.won(id, 2).await;
    assert!(world.record(id, &claimed, die("again")).await);
    requeue(world, &any(), 10).await.unwrap();
    let claimed = world.won(id, 3).await;
    assert!(world.record(id, &claimed, succeed()).await);
    let view = world.view(id).await;
    let attempts: Vec<(u32, &str)> = view
        .attempts()
        .iter()
        .map(|attempt| (attempt.number, attempt.outcome.as_str()))
        .collect();
    assert_eq!(attempts, [(1, "failed"), (2, "failed"), (3, "succeeded")]);
}

pub(crate) async fn nothing_but_the_dead_is_requeued(world: &World) {
    dead(world, 1).await;
    let others = [
        (
            world.ended(new_job(), postpone(LONG)).await,
            State::Retrying,
        ),
        (world.ended(new_job(), succeed()).await, State::Succeeded),
        (world.running().await.0, State::Running),
        (world.queued().await, State::Queued),
    ];
    let none = [
        JobFilter {
            ids: others.map(|(id, _)| id).to_vec(),
            ..any()
        },
        JobFilter {
            code: Some("smtp_down".to_owned()),
            ..any()
        },
        JobFilter {
            queues: vec![queue("nowhere")],
            ..any()
        },
    ];
    for filter in none {
        assert!(requeue(world, &filter, 10).await.is_none(), "{filter:?}");
    }
    assert!(requeue(world, &any(), 10).await.is_some());
    for (id, state) in others {
        assert_eq!(world.view(id).await.state, state);
    }
}

pub(crate) async fn only_the_dead_that_match_are_requeued(world: &World) {
    let bounced = dead(world, 1).await[0];
    let declined = world
        .ended(job_in("payment.charge", "payment"), die("declined"))
        .await;
    let refund = world
        .ended(job_in("payment.refund", "payment"), die("declined"))
        .await;
    let by_code = JobFilter {
        code: Some("smtp_550".to_owned()),
        ..any()
    };
    let by_kind = JobFilter {
        kinds: vec!["payment.refund".parse().unwrap()],
        ..any()
    };
    let by_id_and_queue = JobFilter {
        ids: vec![declined, bounced, JobId::new()],
        queues: vec![queue("payment")],
        ..in_state(State::Dead)
    };
    for (filter, expected) in [
        (by_code, bounced),
        (by_kind, refund),
        (by_id_and_queue, declined),
    ] {
        let entry = requeue(world, &filter, 10).await.unwrap();
        let requeued = published(&entry.publications);
        assert_eq!(requeued, [(expected, 2)], "{filter:?}");
    }
}

pub(crate) async fn a_requeued_job_leaves_its_old_dispatch_behind(world: &World) {
    let id = dead(world, 1).await[0];
    requeue(world, &any(), 1).await.unwrap();
    assert_eq!(world.store.publication(id, 1).await.unwrap(), None);
    assert!(world.store.publication(id, 2).await.unwrap().is_some());
    assert_eq!(world.lost(id, 1).await.dispatch, 2, "1 is stale now");
    world.won(id, 2).await;
}

pub(crate) async fn one_of_many_operators_requeues_a_job(world: &World) {
    let dead = dead(world, 12).await;
    let requeued = at_once(world, 6, |store, _| async move {
        let mut mine = Vec::new();
        let any = any();
        for _ in 0..6 {
            let entry = requeue_dead(&*store, &any, 3, LONG).await;
            mine.extend(
                entry
                    .iter()
                    .flat_map(|entry| published(&entry.publications)),
            );
        }
        mine
    })
    .await;
    let mut requeued = requeued.concat();
    // Every caller's last look may have been at jobs that others took.
    while let Some(entry) = requeue(world, &any(), 12).await {
        requeued.extend(published(&entry.publications));
    }
    requeued.sort();
    let expected: Vec<_> = dead.iter().map(|id| (*id, 2)).collect();
    assert_eq!(requeued, expected);
}
