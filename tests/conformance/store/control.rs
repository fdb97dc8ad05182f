use std::time::Duration;

use longshore::job::{ErrorClass, JobError, JobId, NewJob, Priority, ProcessId, State};
use longshore::store::{Depth, HandedBack, Report};

use super::world::{
    LONG, World, at_once, die, job_in, new_job, patiently, published, queue, succeed,
};

async fn paused(world: &World) -> Vec<(String, String)> {
    let pauses = world.store.paused().await.unwrap();
    pauses
        .into_iter()
        .map(|pause| (pause.queue, pause.by))
        .collect()
}

fn pair(queue: &str, by: &str) -> (String, String) {
    (queue.to_owned(), by.to_owned())
}

pub(crate) async fn a_pause_holds_until_it_is_resumed(world: &World) {
    let (email, payment) = (queue("email"), queue("payment"));
    assert_eq!(paused(world).await, []);
    assert!(world.store.pause(&payment, "ada").await.unwrap());
    assert!(world.store.pause(&email, "bob").await.unwrap());
    assert!(
        !world.store.pause(&email, "eve").await.unwrap(),
        "bob was first"
    );
    let both = [pair("email", "bob"), pair("payment", "ada")];
    assert_eq!(paused(world).await, both);
    let elsewhere = world.elsewhere().await;
    assert_eq!(
        elsewhere.paused().await.unwrap().len(),
        2,
        "other processes see it"
    );
    elsewhere.close().await;
    assert!(world.store.paused().await.unwrap()[0].since <= world.store.now().await.unwrap());
    assert!(world.store.resume(&email, "somebody").await.unwrap());
    assert!(!world.store.resume(&email, "somebody").await.unwrap());
    assert_eq!(paused(world).await, [pair("payment", "ada")]);
}

pub(crate) async fn one_of_many_pauses(world: &World) {
    let won = at_once(world, 8, |store, n| async move {
        let email = queue("email");
        patiently(|| store.pause(&email, if n % 2 == 0 { "even" } else { "odd" })).await
    })
    .await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
}

pub(crate) async fn what_is_handed_back_is_published_again_and_counted_nowhere(world: &World) {
    let waiting = world.queued().await;
    let (running, _) = world.running().await;
    let done = world.ended(new_job(), succeed()).await;
    let wanted = [
        (waiting, 1),
        (running, 1),
        (done, 1),
        (JobId::new(), 1),
        (waiting, 2),
    ];
    assert_eq!(world.store.hand_back(&[]).await.unwrap(), []);
    let handed = world.store.hand_back(&wanted).await.unwrap();
    let stands = |handed: &HandedBack| match handed {
        HandedBack::Entered => Err("entered"),
        HandedBack::Not(row) => Ok(row.map(|row| (row.state, row.dispatch, row.owner))),
    };
    assert_eq!(
        handed.iter().map(stands).collect::<Vec<_>>(),
        [
            Err("entered"),
            Ok(Some((State::Running, 1, Some(world.process)))),
            Ok(Some((State::Succeeded, 1, None))),
            Ok(None),
            Ok(Some((State::Queued, 1, None))),
        ]
    );
    let entries = world.store.lease_outbox(10, LONG).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(published(&entries[0].publications), [(waiting, 1)]);
    assert_eq!(entries[0].publications[0].priority, Priority::High);
    let claimed = world.won(waiting, 1).await;
    assert_eq!(
        (claimed.failures, claimed.crashes, claimed.epoch),
        (0, 0, 1)
    );
}

fn report(name: &str, capacity: u32, accepted: f64) -> Report {
    Report {
        queue: queue(name),
        kinds: vec!["email.send".parse().unwrap()],
        capacity,
        breaker: "closed".to_owned(),
        breaker_error: None,
        accepted,
        finished: 0.25,
    }
}

async fn reported(world: &World) -> Vec<(ProcessId, Report)> {
    let reports = world.store.reports().await.unwrap();
    reports
        .into_iter()
        .map(|told| (told.process, told.report))
        .collect()
}

pub(crate) async fn the_last_report_of_the_living_counts(world: &World) {
    world.store.report(world.process, &[]).await.unwrap();
    assert_eq!(reported(world).await, []);
    let first = [report("email", 4, 1.5), report("payment", 2, 0.0)];
    world.store.report(world.process, &first).await.unwrap();
    let down = JobError::new(ErrorClass::Unavailable, "smtp_connect", "no route");
    let again = [Report {
        breaker: "half_open".to_owned(),
        breaker_error: Some(down),
        ..report("email", 8, 2.5)
    }];
    world.store.report(world.process, &again).await.unwrap();
    let other = world.register("host/2").await;
    world.store.report(other, &again).await.unwrap();
    let mine = |report: &Report| (world.process, report.clone());
    let expected = [mine(&again[0]), mine(&first[1]), (other, again[0].clone())];
    assert_eq!(reported(world).await, expected);
    world.store.retire(other).await.unwrap();
    assert_eq!(reported(world).await, expected[..2]);
    let third = world.register("host/3").await;
    world.store.report(third, &again).await.unwrap();
    assert_eq!(
        reported(world).await.len(),
        3,
        "the dead are forgotten, not the living"
    );
}

fn depth<'a>(depths: &'a [Depth], queue: &str) -> &'a Depth {
    depths
        .iter()
        .find(|depth| depth.counts.queue == queue)
        .unwrap()
}

pub(crate) async fn a_depth_counts_what_has_not_come_to_a_good_end(world: &World) {
    assert!(world.store.depths().await.unwrap().is_empty());
    world.queued().await;
    world.queued().await;
    world.running().await;
    world.ended(new_job(), succeed()).await;
    world.ended(new_job(), die("smtp_550")).await;
    world
        .ended(job_in("payment.charge", "payment"), die("declined"))
        .await;
    let depths = world.store.depths().await.unwrap();
    assert_eq!(depths.len(), 2);
    let email = depth(&depths, "email");
    let states: Vec<(State, u64)> = email.counts.states.iter().map(|(s, n)| (*s, *n)).collect();
    assert_eq!(
        states,
        [(State::Queued, 2), (State::Running, 1), (State::Dead, 1)]
    );
    assert!(
        email
            .oldest_ready
            .is_some_and(|age| age < Duration::from_secs(3600))
    );
    let payment = depth(&depths, "payment");
    assert_eq!(payment.oldest_ready, None);
    assert_eq!(payment.counts.states.get(&State::Dead), Some(&1));
}

pub(crate) async fn what_runs_is_told_by_process_the_oldest_first(world: &World) {
    let (first, _) = world.running().await;
    let (second, _) = world.running().await;
    let queued = world.queued().await;
    let silence = world.store.silence(first).await.unwrap();
    assert!(silence.is_some_and(|silence| silence < Duration::from_secs(3600)));
    assert_eq!(world.store.silence(queued).await.unwrap(), None);
    let running = world.store.running(10).await.unwrap();
    let ids: Vec<JobId> = running.iter().map(|job| job.id).collect();
    assert_eq!(ids, [first, second]);
    assert_eq!(running[0].process, world.process);
    assert_eq!(running[0].queue, queue("email"));
    assert_eq!(world.store.running(1).await.unwrap().len(), 1);
    world.store.retire(world.process).await.unwrap();
    assert_eq!(world.store.running(10).await.unwrap(), []);
}

pub(crate) async fn a_place_is_behind_what_was_sent_before(world: &World) {
    let mut ids = Vec::new();
    for high in [false, true, false, true] {
        let job = NewJob {
            priority: Priority::from_high(high),
            ..new_job()
        };
        ids.push(job.id);
        world.accept(&[job]).await;
    }
    let mut behind = Vec::new();
    for id in &ids {
        behind.push(world.store.place(*id, 100).await.unwrap().unwrap().behind);
    }
    assert_eq!(behind, [0, 0, 2, 1], "a high one waits for high ones alone");
    assert_eq!(
        world.store.place(ids[2], 1).await.unwrap().unwrap().behind,
        1,
        "capped"
    );
    let place = world.store.place(ids[3], 1).await.unwrap().unwrap();
    let looked = (place.behind, place.or_more);
    assert_eq!(looked, (0, true), "it looks at one job, of whatever lane");
    let place = world.store.place(ids[3], 4).await.unwrap().unwrap();
    assert_eq!((place.behind, place.or_more), (1, false));
    world.won(ids[0], 1).await;
    assert_eq!(world.store.place(ids[0], 100).await.unwrap(), None);
    assert_eq!(
        world
            .store
            .place(ids[2], 100)
            .await
            .unwrap()
            .unwrap()
            .behind,
        1
    );
    assert_eq!(world.store.place(JobId::new(), 100).await.unwrap(), None);
}

pub(crate) async fn a_place_tells_what_the_broker_has_not_confirmed(world: &World) {
    let insertion = {
        let job = new_job();
        let id = job.id;
        (id, world.insert(&[job]).await.outbox.unwrap())
    };
    let place = world.store.place(insertion.0, 10).await.unwrap().unwrap();
    assert!(place.unpublished.is_some());
    world.store.settle_outbox(&[insertion.1]).await.unwrap();
    let place = world.store.place(insertion.0, 10).await.unwrap().unwrap();
    assert_eq!(place.unpublished, None);
}
