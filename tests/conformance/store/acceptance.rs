use std::time::Duration;

use chrono::{SubsecRound, TimeDelta, Utc};
use longshore::job::{Claimed, JobId, NewJob, Priority, Publication, Start, State};
use longshore::store::{Inserted, JobFilter, StoreError};

use super::world::{LONG, World, ids, job_after, new_job, new_jobs, patiently};

fn state_of(answer: &Inserted) -> State {
    match answer {
        Inserted::Accepted { state, .. } => *state,
        other => panic!("not accepted: {other:?}"),
    }
}

pub(crate) async fn a_job_for_now_is_queued_under_its_first_dispatch(world: &World) {
    let job = NewJob {
        priority: Priority::High,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        ..new_job()
    };
    let insertion = world.insert(std::slice::from_ref(&job)).await;
    assert_eq!(state_of(&insertion.jobs[0]), State::Queued);
    assert!(insertion.outbox.is_some());
    let expected = Publication {
        id: job.id,
        kind: job.kind.clone(),
        queue: job.queue.clone(),
        priority: Priority::High,
        dispatch: 1,
        traceparent: job.traceparent.clone(),
        payload: job.payload.clone(),
    };
    let publication = |dispatch| world.store.publication(job.id, dispatch);
    assert_eq!(publication(1).await.unwrap(), Some(expected));
    assert_eq!(publication(0).await.unwrap(), None);
    assert_eq!(publication(2).await.unwrap(), None);
    world.won(job.id, 1).await;
    assert_eq!(
        publication(1).await.unwrap(),
        None,
        "it is not queued any more"
    );
}

pub(crate) async fn a_job_for_later_is_scheduled(world: &World) {
    let moment = Utc::now().trunc_subsecs(6) + TimeDelta::days(3);
    let at = NewJob {
        start: Start::At(moment),
        ..new_job()
    };
    let after = job_after(Duration::from_secs(90));
    let insertion = world.insert(&[at.clone(), after.clone()]).await;
    assert!(insertion.outbox.is_none());
    assert_eq!(world.view(at.id).await.run_at, Some(moment));
    let view = world.view(after.id).await;
    assert_eq!(view.run_at, Some(view.created_at + TimeDelta::seconds(90)));
    for (id, answer) in [at.id, after.id].into_iter().zip(&insertion.jobs) {
        assert_eq!(state_of(answer), State::Scheduled);
        let standing = world.lost(id, 1).await;
        assert_eq!((standing.state, standing.dispatch), (State::Scheduled, 0));
    }
}

pub(crate) async fn a_moment_that_has_passed_is_now(world: &World) {
    let past = NewJob {
        start: Start::At(Utc::now() - TimeDelta::days(3)),
        ..new_job()
    };
    let insertion = world
        .insert(&[past.clone(), job_after(Duration::ZERO)])
        .await;
    for answer in &insertion.jobs {
        assert_eq!(state_of(answer), State::Queued);
    }
    world.won(past.id, 1).await;
}

pub(crate) async fn answers_come_in_order_and_the_outbox_covers_the_queued(world: &World) {
    let jobs: Vec<NewJob> = (0..20)
        .map(|n| {
            if n % 3 == 0 {
                job_after(LONG)
            } else {
                new_job()
            }
        })
        .rev()
        .collect();
    let insertion = world
        .store
        .insert(world.process, &jobs, Duration::ZERO)
        .await
        .unwrap();
    for (job, answer) in jobs.iter().zip(&insertion.jobs) {
        let later = matches!(job.start, Start::After(_));
        assert_eq!(state_of(answer) == State::Scheduled, later);
        let Inserted::Accepted { created_at, .. } = answer else {
            unreachable!()
        };
        assert_eq!(world.view(job.id).await.created_at, *created_at);
    }
    let entries = world.leased().await;
    assert_eq!(entries.len(), 1, "one entry for the batch");
    assert_eq!(Some(entries[0].id), insertion.outbox);
    let mut covered: Vec<JobId> = entries[0].publications.iter().map(|p| p.id).collect();
    let mut queued: Vec<JobId> = jobs
        .iter()
        .filter(|job| job.start == Start::Now)
        .map(|job| job.id)
        .collect();
    covered.sort();
    queued.sort();
    assert_eq!(covered, queued);
}

pub(crate) async fn what_was_submitted_can_be_seen(world: &World) {
    let job = NewJob {
        priority: Priority::High,
        max_attempts: Some(3),
        tags: vec!["blue".to_owned(), "größe \"XL\", {a}".to_owned()],
        ..new_job()
    };
    world.accept(std::slice::from_ref(&job)).await;
    let view = world.view(job.id).await;
    assert_eq!(view.id, job.id);
    assert_eq!(view.kind, job.kind);
    assert_eq!(view.queue, job.queue);
    assert_eq!(view.state, State::Queued);
    assert_eq!(view.payload.get().as_bytes(), job.payload);
    assert_eq!(view.priority, Priority::High);
    assert_eq!(view.tags, job.tags);
    assert_eq!(view.attempt, 0);
    assert_eq!(view.max_attempts, Some(3));
    assert_eq!((view.run_at, view.started_at), (None, None));
    assert_eq!(view.finished_at, None);
    assert!(view.result.is_none() && view.error.is_none());
    assert!(view.attempts().is_empty());
    assert!(view.waiting_for.is_some());
    let Claimed { max_attempts, .. } = world.won(job.id, 1).await;
    assert_eq!(max_attempts, Some(3));
}

pub(crate) async fn payloads_keep_every_byte(world: &World) {
    let big = serde_json::to_string(&"größer ".repeat(1024 * 1024 / 8)).unwrap();
    assert!(big.len() >= 1024 * 1024);
    let payloads = [
        r#""a\u0000b""#.to_owned(),
        r#"{"\u0000":"\ud83d\ude80 🚀 é e\u0301"}"#.to_owned(),
        "{\"b\" : 1,\n\t\"a\":2, \"b\":3}".to_owned(),
        "[1.0, 1e400, 123456789012345678901234567890, -0]".to_owned(),
        r#""$1 ' \" ? :x \\""#.to_owned(),
        "null".to_owned(),
        big,
    ];
    let jobs: Vec<NewJob> = payloads
        .iter()
        .map(|payload| NewJob {
            payload: payload.clone().into(),
            ..new_job()
        })
        .collect();
    world.accept(&jobs).await;
    for (job, payload) in jobs.iter().zip(&payloads) {
        assert_eq!(world.view(job.id).await.payload.get(), payload);
        let publication = world.store.publication(job.id, 1).await.unwrap().unwrap();
        assert_eq!(publication.payload, payload.as_bytes());
    }
}

pub(crate) async fn a_batch_of_nothing_does_nothing(world: &World) {
    let insertion = world.insert(&[]).await;
    assert!(insertion.jobs.is_empty() && insertion.outbox.is_none());
    let store = &world.store;
    store.insert_dead(world.process, &[]).await.unwrap();
    store.settle_outbox(&[]).await.unwrap();
    assert!(store.claim(world.process, &[]).await.unwrap().is_empty());
    assert!(store.record(&[]).await.unwrap().is_empty());
    assert!(store.finished(&[]).await.unwrap().is_empty());
    assert_eq!(store.outbox_age().await.unwrap(), None);
    assert_eq!(store.tally().await.unwrap().accepted, 0);
}

pub(crate) async fn the_same_id_again_is_a_replay(world: &World) {
    let jobs = new_jobs(3);
    world.accept(&jobs[..2]).await;
    world.won(jobs[0].id, 1).await;
    let again = world
        .insert(&[
            jobs[1].clone(),
            jobs[2].clone(),
            jobs[2].clone(),
            jobs[0].clone(),
        ])
        .await;
    let replay = |n: usize| Inserted::Replayed { id: jobs[n].id };
    assert_eq!(again.jobs[0], replay(1));
    assert_eq!(state_of(&again.jobs[1]), State::Queued);
    assert_eq!(again.jobs[2], replay(2));
    assert_eq!(again.jobs[3], replay(0));
    assert_eq!(world.view(jobs[0].id).await.state, State::Running);
    assert_eq!(world.store.tally().await.unwrap().accepted, 3);
    let none_new = world.insert(&jobs).await;
    assert!(none_new.outbox.is_none());
}

/// Some databases refuse a NUL in text and some keep it; neither may commit half a batch or
/// let the neighbours suffer.
pub(crate) async fn a_refused_value_refuses_its_whole_batch(world: &World) {
    let mut jobs = new_jobs(3);
    jobs[1].tags = vec!["a\0b".to_owned()];
    match world.store.insert(world.process, &jobs, LONG).await {
        Ok(_) => assert_eq!(world.view(jobs[1].id).await.tags, jobs[1].tags),
        Err(StoreError::Data(_)) => {
            assert!(world.list(JobFilter::default()).await.is_empty());
            assert_eq!(world.store.tally().await.unwrap().accepted, 0);
            assert_eq!(world.store.outbox_age().await.unwrap(), None);
            world.accept(&[jobs[0].clone(), jobs[2].clone()]).await;
        }
        Err(other) => panic!("neither kept nor refused: {other:?}"),
    }
}

pub(crate) async fn acceptance_is_counted_for_every_process(world: &World) {
    let other = world.register("host/2").await;
    let inserts = (0..10).map(|n| async move {
        let process = if n % 2 == 0 { world.process } else { other };
        let jobs = &new_jobs(4);
        patiently(|| world.store.insert(process, jobs, LONG)).await;
        ids(jobs)
    });
    let inserted = futures::future::join_all(inserts).await.concat();
    let counted = async || world.store.tally().await.unwrap();
    assert_eq!(counted().await.accepted, 40);
    assert_eq!(counted().await.live, 40);
    let seen = world.counter(other).await;
    world.store.bury(other, seen).await.unwrap();
    world.store.retire(world.process).await.unwrap();
    assert_eq!(counted().await.accepted, 40, "the dead have counted too");
    assert_eq!(world.list(JobFilter::default()).await.len(), inserted.len());
}
