use std::collections::HashSet;

use longshore::job::{JobId, NewJob, UniqueKey};
use longshore::store::Inserted;

use super::world::{LONG, World, at_once, new_job, patiently, succeed};

/// A fresh job under this key, each time with an id of its own.
fn keyed(scope: &str, key: &str, fingerprint: &[u8]) -> NewJob {
    NewJob {
        unique: Some(UniqueKey {
            scope: scope.to_owned(),
            key: key.to_owned(),
            fingerprint: fingerprint.to_vec(),
        }),
        ..new_job()
    }
}

async fn answer(world: &World, job: &NewJob) -> Inserted {
    let insertion = world.insert(std::slice::from_ref(job)).await;
    insertion.jobs.into_iter().next().unwrap()
}

async fn assert_accepted(world: &World, job: &NewJob) {
    let answer = answer(world, job).await;
    assert!(matches!(answer, Inserted::Accepted { .. }), "{answer:?}");
}

pub(crate) async fn the_same_key_and_fingerprint_is_the_same_job(world: &World) {
    let first = keyed("app", "order-1", b"\x00\xff");
    assert_accepted(world, &first).await;
    let claimed = world.won(first.id, 1).await;
    let again = keyed("app", "order-1", b"\x00\xff");
    let replayed = Inserted::Replayed { id: first.id };
    let insertion = world.insert(&[again.clone(), first.clone()]).await;
    assert_eq!(insertion.jobs, [replayed.clone(), replayed.clone()]);
    assert!(insertion.outbox.is_none());
    assert!(world.store.job(again.id).await.unwrap().is_none());
    assert!(world.record(first.id, &claimed, succeed()).await);
    assert_eq!(
        answer(world, &again).await,
        replayed,
        "also when it has ended"
    );
    assert_eq!(world.store.tally().await.unwrap().accepted, 1);
}

pub(crate) async fn the_same_key_with_another_fingerprint_is_refused(world: &World) {
    let first = keyed("app", "order-1", b"a");
    assert_accepted(world, &first).await;
    let neighbour = new_job();
    let other = keyed("app", "order-1", b"b");
    let insertion = world.insert(&[other.clone(), neighbour.clone()]).await;
    assert_eq!(insertion.jobs[0], Inserted::KeyReused { id: first.id });
    assert!(matches!(insertion.jobs[1], Inserted::Accepted { .. }));
    assert!(world.store.job(other.id).await.unwrap().is_none());
    assert!(world.store.job(neighbour.id).await.unwrap().is_some());
    assert_eq!(world.store.tally().await.unwrap().accepted, 2);
}

pub(crate) async fn keys_belong_to_their_scope(world: &World) {
    for (scope, key) in [
        ("app", "1"),
        ("other", "1"),
        ("app", "2"),
        ("app1", ""),
        ("", "app1"),
    ] {
        assert_accepted(world, &keyed(scope, key, b"a")).await;
    }
    assert_eq!(world.store.tally().await.unwrap().accepted, 5);
}

pub(crate) async fn the_first_of_a_batch_has_the_key(world: &World) {
    let batch = [
        keyed("app", "1", b"a"),
        keyed("app", "1", b"a"),
        keyed("app", "2", b"a"),
        keyed("app", "1", b"b"),
    ];
    let insertion = world.insert(&batch).await;
    let first = batch[0].id;
    assert!(matches!(insertion.jobs[0], Inserted::Accepted { .. }));
    assert_eq!(insertion.jobs[1], Inserted::Replayed { id: first });
    assert!(matches!(insertion.jobs[2], Inserted::Accepted { .. }));
    assert_eq!(insertion.jobs[3], Inserted::KeyReused { id: first });
    assert_eq!(world.store.tally().await.unwrap().accepted, 2);
}

pub(crate) async fn a_hundred_at_once_are_one_job(world: &World) {
    let process = world.process;
    let answers = at_once(world, 100, move |store, _| async move {
        let jobs = [keyed("app", "order-1", b"a")];
        let mut insertion = patiently(|| store.insert(process, &jobs, LONG)).await;
        (jobs[0].id, insertion.jobs.remove(0))
    })
    .await;
    let accepted: Vec<JobId> = answers
        .iter()
        .filter(|(_, answer)| matches!(answer, Inserted::Accepted { .. }))
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(accepted.len(), 1, "{answers:?}");
    let replayed: HashSet<JobId> = answers
        .iter()
        .filter_map(|(_, answer)| match answer {
            Inserted::Replayed { id } => Some(*id),
            _ => None,
        })
        .collect();
    assert_eq!(replayed, HashSet::from([accepted[0]]));
    assert_eq!(world.store.tally().await.unwrap().accepted, 1);
}

pub(crate) async fn all_of_a_batch_or_none(world: &World) {
    let (process, store) = (world.process, &world.store);
    let first = [keyed("app", "1", b"a"), new_job(), keyed("app", "1", b"a")];
    let whole = store.insert_all(process, &first, LONG).await.unwrap();
    let insertion = whole.expect("nothing stands against it");
    assert!(matches!(insertion.jobs[0], Inserted::Accepted { .. }));
    assert!(matches!(insertion.jobs[1], Inserted::Accepted { .. }));
    assert_eq!(
        insertion.jobs[2],
        Inserted::Replayed { id: first[0].id },
        "the same key and fingerprint twice is one job"
    );
    assert!(insertion.outbox.is_some());
    let second = [
        new_job(),
        keyed("app", "1", b"b"),
        keyed("app", "2", b"a"),
        keyed("app", "2", b"b"),
    ];
    let refused = store.insert_all(process, &second, LONG).await.unwrap();
    let reused = refused.expect_err("two keys are another's");
    assert_eq!(reused, [(1, first[0].id), (3, second[2].id)]);
    for job in &second {
        assert!(store.job(job.id).await.unwrap().is_none());
    }
    assert_eq!(store.tally().await.unwrap().accepted, 2);
    let none = store.insert_all(process, &[], LONG).await.unwrap();
    assert_eq!(none.expect("an empty batch").jobs, []);
}

pub(crate) async fn a_batch_that_is_refused_takes_no_key(world: &World) {
    assert_accepted(world, &keyed("app", "1", b"a")).await;
    let batch = [keyed("app", "new", b"a"), keyed("app", "1", b"b")];
    let refused = world.store.insert_all(world.process, &batch, LONG).await;
    assert!(refused.unwrap().is_err());
    assert_accepted(world, &keyed("app", "new", b"b")).await;
}

pub(crate) async fn whole_batches_at_once_are_inserted_once(world: &World) {
    let process = world.process;
    let answers = at_once(world, 20, move |store, n| async move {
        let mut jobs: Vec<NewJob> = (0..20)
            .map(|key| keyed("app", &key.to_string(), b"a"))
            .collect();
        if n % 2 == 0 {
            jobs.reverse();
        }
        let whole = patiently(|| store.insert_all(process, &jobs, LONG)).await;
        whole.expect("no key is another's").jobs
    })
    .await;
    let accepted = answers
        .iter()
        .flatten()
        .filter(|answer| matches!(answer, Inserted::Accepted { .. }))
        .count();
    assert_eq!(accepted, 20);
    assert_eq!(world.store.tally().await.unwrap().accepted, 20);
}

/// A key lives at least as long as its job, and no shorter than a day.
pub(crate) async fn a_key_outlives_its_pruned_job(world: &World) {
    let kept = keyed("app", "kept", b"a");
    let pruned = keyed("app", "pruned", b"a");
    assert_accepted(world, &kept).await;
    world.ended(pruned.clone(), succeed()).await;
    assert_eq!(world.prune_all().await, 1);
    assert!(world.store.job(pruned.id).await.unwrap().is_none());
    for job in [kept, pruned] {
        let again = NewJob {
            id: JobId::new(),
            ..job.clone()
        };
        assert_eq!(
            answer(world, &again).await,
            Inserted::Replayed { id: job.id }
        );
    }
}
