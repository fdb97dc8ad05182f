use longshore::job::{ErrorClass, JobError, JobId, Priority, Publication, State, UniqueKey};
use longshore::store::DeadLetter;

use super::world::{
    LONG, World, at_once, die, in_state, job_after, new_job, patiently, postpone, queue, retry,
    succeed,
};

fn letter(kind: &str) -> DeadLetter {
    DeadLetter {
        id: JobId::new(),
        kind: kind.to_owned(),
        queue: queue("email"),
        payload: br#""not {json""#.to_vec(),
        error: JobError::new(ErrorClass::Invalid, "bad_json", "the body must be JSON"),
        unique: None,
    }
}

/// A dispatch as its message brings it back.
fn lost(id: JobId, dispatch: i32) -> Publication {
    Publication {
        id,
        kind: "email.send".parse().unwrap(),
        queue: queue("email"),
        priority: Priority::High,
        dispatch,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        payload: r#"{"to":["b@example.org"]}"#.into(),
    }
}

pub(crate) async fn a_dead_letter_is_listed_and_counted(world: &World) {
    let letters = [letter("email.send"), letter("image.resize")];
    world
        .store
        .insert_dead(world.process, &letters)
        .await
        .unwrap();
    assert_eq!(
        world.list(in_state(State::Dead)).await,
        [letters[1].id, letters[0].id]
    );
    let view = world.view(letters[0].id).await;
    assert_eq!(view.kind.as_str(), "email.send");
    assert_eq!(view.queue, queue("email"));
    assert_eq!(view.payload.get().as_bytes(), letters[0].payload);
    assert_eq!(view.error.as_ref(), Some(&letters[0].error));
    assert_eq!(view.attempt, 0);
    assert!(view.attempts().is_empty());
    assert!(view.finished_at.is_some() && view.started_at.is_none());
    assert_eq!(view.waiting_for, None);
    let tally = world.store.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.dead, tally.live), (2, 2, 0));
    assert_eq!(world.store.outbox_age().await.unwrap(), None);
}

pub(crate) async fn a_dead_letter_again_changes_nothing(world: &World) {
    let first = letter("email.send");
    let other = DeadLetter {
        error: JobError::new(ErrorClass::Invalid, "no_type", "again"),
        ..first.clone()
    };
    let batch = [first.clone(), other.clone()];
    world
        .store
        .insert_dead(world.process, &batch)
        .await
        .unwrap();
    world
        .store
        .insert_dead(world.process, &[other])
        .await
        .unwrap();
    let view = world.view(first.id).await;
    assert_eq!(view.error, Some(first.error));
    assert_eq!(world.store.tally().await.unwrap().accepted, 1);
}

pub(crate) async fn a_dead_letter_with_a_known_key_is_the_same(world: &World) {
    let keyed = |key: &str| DeadLetter {
        unique: Some(UniqueKey {
            scope: "dead".to_owned(),
            key: key.to_owned(),
            fingerprint: Vec::new(),
        }),
        ..letter("email.send")
    };
    let first = [keyed("b"), keyed("a"), keyed("b"), letter("email.send")];
    let insert = async |letters: &[DeadLetter]| {
        let inserted = world.store.insert_dead(world.process, letters).await;
        inserted.unwrap();
    };
    insert(&first).await;
    // Also after a reply that was lost.
    insert(&first).await;
    insert(&[keyed("a"), keyed("c")]).await;
    let mut dead = world.list(in_state(State::Dead)).await;
    for known in [&first[0], &first[1], &first[3]] {
        let before = dead.len();
        dead.retain(|id| *id != known.id);
        assert_eq!(dead.len(), before - 1);
    }
    assert_eq!(dead.len(), 1, "and that of the key c");
    assert_eq!(world.store.tally().await.unwrap().accepted, 4);
    let many = at_once(world, 6, |store, _| {
        let (letter, process) = (keyed("d"), world.process);
        async move { patiently(|| store.insert_dead(process, std::slice::from_ref(&letter))).await }
    });
    many.await;
    assert_eq!(world.store.tally().await.unwrap().accepted, 5);
}

pub(crate) async fn a_dead_letter_leaves_a_job_of_its_id_alone(world: &World) {
    let queued = world.queued().await;
    let done = world.ended(new_job(), succeed()).await;
    let letters = [queued, done].map(|id| DeadLetter {
        id,
        ..letter("email.send")
    });
    world
        .store
        .insert_dead(world.process, &letters)
        .await
        .unwrap();
    assert_eq!(world.view(queued).await.state, State::Queued);
    assert_eq!(world.view(done).await.state, State::Succeeded);
    assert_eq!(world.store.tally().await.unwrap().accepted, 2);
}

/// Whatever stood in `type`, listing must not trip over it.
pub(crate) async fn a_kind_that_is_no_kind_reads_unknown(world: &World) {
    let letters = ["", "Not A Kind\0", &"x".repeat(300)].map(letter);
    world
        .store
        .insert_dead(world.process, &letters)
        .await
        .unwrap();
    for letter in &letters {
        assert_eq!(world.view(letter.id).await.kind.as_str(), "unknown");
    }
    assert_eq!(world.list(in_state(State::Dead)).await.len(), 3);
}

pub(crate) async fn a_forgotten_dispatch_is_restored(world: &World) {
    let message = lost(JobId::new(), 7);
    assert!(world.store.restore(world.process, &message).await.unwrap());
    assert!(!world.store.restore(world.process, &message).await.unwrap());
    assert_eq!(
        world.store.publication(message.id, 7).await.unwrap(),
        Some(message.clone())
    );
    let tally = world.store.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.live), (1, 1));
    assert_eq!(
        world.store.outbox_age().await.unwrap(),
        None,
        "its message is in the caller's hands"
    );
    let claimed = world.won(message.id, 7).await;
    assert_eq!((claimed.failures, claimed.crashes), (0, 0));
    assert!(world.record(message.id, &claimed, succeed()).await);
}

pub(crate) async fn an_older_dispatch_is_raised(world: &World) {
    let scheduled = job_after(LONG);
    world.accept(std::slice::from_ref(&scheduled)).await;
    let queued = world.queued().await;
    let retrying = world.ended(new_job(), retry(LONG)).await;
    let postponed = world.ended(new_job(), postpone(LONG)).await;
    for (id, failures) in [
        (scheduled.id, 0),
        (queued, 0),
        (retrying, 1),
        (postponed, 0),
    ] {
        assert!(
            world
                .store
                .restore(world.process, &lost(id, 5))
                .await
                .unwrap()
        );
        let standing = world.lost(id, 4).await;
        assert_eq!((standing.state, standing.dispatch), (State::Queued, 5));
        assert_eq!(world.view(id).await.run_at, None);
        let claimed = world.won(id, 5).await;
        assert_eq!(claimed.failures, failures, "what was counted stays counted");
    }
    assert_eq!(world.store.tally().await.unwrap().accepted, 4);
    assert!(world.store.promote_due(100, LONG).await.unwrap().is_none());
}

pub(crate) async fn what_stands_otherwise_is_not_restored(world: &World) {
    let (running, _) = world.running().await;
    let succeeded = world.ended(new_job(), succeed()).await;
    let dead = world.ended(new_job(), die("x")).await;
    for (id, state) in [
        (running, State::Running),
        (succeeded, State::Succeeded),
        (dead, State::Dead),
    ] {
        assert!(
            !world
                .store
                .restore(world.process, &lost(id, 9))
                .await
                .unwrap()
        );
        assert_eq!(world.view(id).await.state, state);
        assert_eq!(world.lost(id, 9).await.dispatch, 1);
    }
    let queued = world.queued().await;
    for dispatch in [0, 1] {
        let message = lost(queued, dispatch);
        assert!(!world.store.restore(world.process, &message).await.unwrap());
    }
    assert_eq!(world.lost(queued, 9).await.dispatch, 1);
    assert_eq!(world.store.tally().await.unwrap().accepted, 4);
}
