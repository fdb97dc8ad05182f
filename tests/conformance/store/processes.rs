use longshore::job::{JobId, ProcessId, State, Transition};
use longshore::store::{Beat, Claim, ClaimRequest, Store};

use super::world::{
    World, at_once, eventually, ids, new_jobs, patiently, published, record, retry, succeed,
};

pub(crate) async fn a_process_registers_and_beats(world: &World) {
    let store = &world.store;
    let other = world.register("host/2").await;
    assert_eq!(world.counter(other).await, 0);
    for counter in 1..=3 {
        assert_eq!(store.beat(other).await.unwrap(), Beat::Counted);
        assert_eq!(world.counter(other).await, counter);
    }
    assert_eq!(world.counter(world.process).await, 0, "each has its own");
    let rows = store.processes().await.unwrap();
    assert_eq!(rows.len(), 2);
    let row = rows.iter().find(|row| row.id == other).unwrap();
    assert_eq!((row.role.as_str(), row.name.as_str()), ("worker", "host/2"));
    assert_eq!(row.version, "1.2.3");
    assert_eq!(row.queues, ["email", "payment"]);
    assert!(row.beat_at >= row.started_at);
    assert_eq!(
        store.beat(ProcessId(other.0 + 1000)).await.unwrap(),
        Beat::Dead
    );
}

pub(crate) async fn numbers_are_never_used_again(world: &World) {
    let mut last = world.process;
    for _ in 0..3 {
        world.store.retire(last).await.unwrap();
        let next = world.register("host/1").await;
        assert!(next > last);
        last = next;
    }
}

/// Buries a live process as it stands.
async fn bury(world: &World, process: ProcessId) -> Option<u64> {
    let counter = world.counter(process).await;
    world.store.bury(process, counter).await.unwrap()
}

pub(crate) async fn a_burial_rescues_what_ran(world: &World) {
    let doomed = world.register("host/2").await;
    let jobs = new_jobs(4);
    world.accept(&jobs).await;
    for job in &jobs[..2] {
        let claim = world.claim(doomed, job.id, 1).await;
        assert!(matches!(claim, Claim::Won(_)));
    }
    let mine = world.won(jobs[2].id, 1).await;
    assert_eq!(bury(world, doomed).await, Some(2));
    for job in &jobs[..2] {
        let view = world.view(job.id).await;
        assert_eq!(view.state, State::Queued);
        assert_eq!((view.attempt, view.attempts().len()), (0, 0));
    }
    let entries = eventually(async || Some(world.leased().await).filter(|e| !e.is_empty())).await;
    let publications = &entries[0].publications;
    let mut rescued = published(publications);
    rescued.sort();
    assert_eq!(
        rescued,
        [(jobs[0].id, 1), (jobs[1].id, 1)],
        "the same dispatch"
    );
    assert!(publications.iter().all(|p| p.priority.is_high()));
    let again = world.won(jobs[0].id, 1).await;
    assert_eq!((again.failures, again.crashes, again.epoch), (0, 1, 2));
    assert!(
        world.record(jobs[2].id, &mine, succeed()).await,
        "a neighbour loses nothing"
    );
    assert_eq!(world.won(jobs[3].id, 1).await.crashes, 0);
    assert!(world.store.owned(doomed).await.unwrap().is_empty());
}

pub(crate) async fn a_burial_needs_the_counter_it_saw(world: &World) {
    let store = &world.store;
    let (id, claimed) = world.running().await;
    let seen = world.counter(world.process).await;
    assert_eq!(store.beat(world.process).await.unwrap(), Beat::Counted);
    assert_eq!(store.bury(world.process, seen).await.unwrap(), None);
    assert_eq!(store.bury(world.process, seen + 2).await.unwrap(), None);
    assert_eq!(store.bury(ProcessId(0), 0).await.unwrap(), None);
    assert_eq!(store.beat(world.process).await.unwrap(), Beat::Counted);
    assert!(world.record(id, &claimed, succeed()).await);
}

pub(crate) async fn a_process_is_buried_once(world: &World) {
    world.running().await;
    let counter = world.counter(world.process).await;
    let bury = || world.store.bury(world.process, counter);
    assert_eq!(bury().await.unwrap(), Some(1));
    assert_eq!(bury().await.unwrap(), None);
    assert!(world.store.beats().await.unwrap().is_empty());
    assert!(world.store.processes().await.unwrap().is_empty());
    let entries = eventually(async || Some(world.leased().await).filter(|e| !e.is_empty())).await;
    assert_eq!(entries.len(), 1, "rescued once");
}

pub(crate) async fn one_of_many_buries(world: &World) {
    let (id, _) = world.running().await;
    let (process, counter) = (world.process, world.counter(world.process).await);
    let burials = at_once(world, 20, |store, _| async move {
        patiently(|| store.bury(process, counter)).await
    })
    .await;
    assert_eq!(burials.iter().flatten().collect::<Vec<_>>(), [&1]);
    let heir = world.register("host/2").await;
    let Claim::Won(claimed) = world.claim(heir, id, 1).await else {
        panic!("the rescued job is to be had");
    };
    assert_eq!(claimed.crashes, 1);
}

pub(crate) async fn a_zombie_is_refused_everything(world: &World) {
    let (id, claimed) = world.running().await;
    bury(world, world.process).await.unwrap();
    assert_eq!(world.store.beat(world.process).await.unwrap(), Beat::Dead);
    for end in [
        succeed(),
        retry(std::time::Duration::ZERO),
        Transition::HandBack,
    ] {
        assert!(!world.record(id, &claimed, end).await);
    }
    let over = ClaimRequest {
        id,
        dispatch: 1,
        over_epoch: Some(claimed.epoch),
    };
    let claims = world.store.claim(world.process, &[over]).await.unwrap();
    assert!(matches!(claims[0], Claim::Lost(Some(_))));
    let heir = world.register("host/2").await;
    let Claim::Won(second) = world.claim(heir, id, 1).await else {
        panic!("the rescued job is to be had");
    };
    assert!(
        !world.record(id, &claimed, succeed()).await,
        "also while its heir runs it"
    );
    assert!(world.record(id, &second, succeed()).await);
    assert_eq!(world.store.retire(world.process).await.unwrap(), 0);
}

async fn claim_all(store: &dyn Store, process: ProcessId, jobs: &[JobId]) -> usize {
    let mut won = 0;
    for id in jobs {
        let request = ClaimRequest {
            id: *id,
            dispatch: 1,
            over_epoch: None,
        };
        let claims = patiently(|| store.claim(process, std::slice::from_ref(&request))).await;
        won += usize::from(matches!(claims[0], Claim::Won(_)));
    }
    won
}

/// Whichever comes first: what was claimed before the burial is rescued by it, and nothing is
/// claimed after it. No job may be left running under a dead owner.
pub(crate) async fn a_claim_and_a_burial_do_not_overlap(world: &World) {
    for round in 0..10 {
        let doomed = world.register("host/2").await;
        let jobs = new_jobs(8);
        world.accept(&jobs).await;
        let jobs = ids(&jobs);
        let answers = at_once(world, 5, |store, n| {
            let jobs = jobs.clone();
            async move {
                if n == 2 {
                    patiently(|| store.bury(doomed, 0)).await
                } else {
                    let _won = claim_all(&*store, doomed, &jobs).await;
                    None
                }
            }
        })
        .await;
        assert_eq!(answers.iter().flatten().count(), 1, "round {round}");
        assert!(
            world.store.owned(doomed).await.unwrap().is_empty(),
            "round {round}"
        );
        for id in jobs {
            assert_eq!(world.view(id).await.state, State::Queued, "round {round}");
        }
    }
}

pub(crate) async fn retiring_hands_back_and_counts_nothing(world: &World) {
    let leaving = world.register("host/2").await;
    let id = world.queued().await;
    let Claim::Won(claimed) = world.claim(leaving, id, 1).await else {
        panic!("a queued job is to be had");
    };
    assert_eq!(world.store.retire(leaving).await.unwrap(), 1);
    let answers = world.store.record(&[record(id, &claimed, succeed())]).await;
    assert_eq!(answers.unwrap(), [false]);
    assert_eq!(world.store.beat(leaving).await.unwrap(), Beat::Dead);
    let entries = eventually(async || Some(world.leased().await).filter(|e| !e.is_empty())).await;
    assert_eq!(published(&entries[0].publications), [(id, 1)]);
    assert!(entries[0].publications[0].priority.is_high());
    let again = world.won(id, 1).await;
    assert_eq!((again.failures, again.crashes, again.epoch), (0, 0, 2));
}

pub(crate) async fn retiring_twice_is_harmless(world: &World) {
    world.running().await;
    assert_eq!(world.store.retire(world.process).await.unwrap(), 1);
    assert_eq!(world.store.retire(world.process).await.unwrap(), 0);
    assert_eq!(world.store.retire(ProcessId(0)).await.unwrap(), 0);
    let entries = eventually(async || Some(world.leased().await).filter(|e| !e.is_empty())).await;
    assert_eq!(entries.len(), 1);
}
