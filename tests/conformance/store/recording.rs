use std::time::Duration;

use chrono::TimeDelta;
use longshore::job::{Claimed, JobError, JobId, ProcessId, State, Transition};
use longshore::store::Record;
use serde_json::json;

use super::world::{
    LONG, World, ZERO, at_once, die, eventually, failure, new_job, new_jobs, patiently, postpone,
    published, record, retry, succeed,
};

pub(crate) async fn success_keeps_its_result(world: &World) {
    let results = [
        None,
        Some(json!(null)),
        Some(json!({"id": 7, "text": "größer \u{0} 🚀", "list": [1.5, true, null]})),
    ];
    for result in results {
        let (id, claimed) = world.running().await;
        let result_sent = result.clone();
        assert!(
            world
                .record(id, &claimed, Transition::Succeed { result })
                .await
        );
        let view = world.view(id).await;
        assert_eq!(view.state, State::Succeeded);
        let kept = view
            .result
            .map(|raw| serde_json::from_str(raw.get()).unwrap());
        assert_eq!(kept, result_sent);
        assert_eq!(view.error, None);
        assert_eq!(view.started_at, Some(claimed.started_at));
        assert!(view.finished_at.unwrap() >= claimed.started_at);
        assert_eq!(view.waiting_for, None);
    }
    assert!(world.leased().await.is_empty());
}

pub(crate) async fn a_retry_is_an_attempt_and_waits(world: &World) {
    let (id, claimed) = world.running().await;
    let error = failure("smtp_451");
    let transition = Transition::Retry {
        error: error.clone(),
        after: LONG,
    };
    assert!(world.record(id, &claimed, transition).await);
    let view = world.view(id).await;
    assert_eq!(view.state, State::Retrying);
    assert_eq!(view.attempt, 1);
    assert_eq!(view.error, Some(error.clone()));
    assert_eq!(view.finished_at, None);
    assert!(view.waiting_for.is_some());
    let [attempt] = view.attempts() else {
        panic!("one attempt: {:?}", view.attempts());
    };
    assert_eq!(attempt.number, 1);
    assert_eq!(attempt.worker.as_deref(), Some("host/1"));
    assert_eq!(attempt.started_at, Some(claimed.started_at));
    assert!(attempt.finished_at >= claimed.started_at);
    assert_eq!(attempt.outcome, "failed");
    assert_eq!(attempt.error, Some(error));
    let delay = TimeDelta::from_std(LONG).unwrap();
    assert_eq!(view.run_at, Some(attempt.finished_at + delay));
}

pub(crate) async fn a_postponement_counts_nothing(world: &World) {
    let (id, claimed) = world.running().await;
    assert!(world.record(id, &claimed, postpone(LONG)).await);
    let view = world.view(id).await;
    assert_eq!(view.state, State::Retrying);
    assert_eq!(view.attempt, 0);
    assert!(view.attempts().is_empty());
    assert_eq!(view.error.unwrap().code, "smtp_down");
    assert!(view.run_at.unwrap() >= claimed.started_at + TimeDelta::from_std(LONG).unwrap());
}

/// Promotes and claims a job that is due.
async fn again(world: &World, id: JobId) -> Claimed {
    let entry = world.promoted().await;
    let [(promoted, dispatch)] = published(&entry.publications)[..] else {
        panic!("only one job is due");
    };
    assert_eq!(promoted, id);
    world.won(id, dispatch).await
}

pub(crate) async fn postponements_add_up_until_a_run_counts(world: &World) {
    let (id, mut claimed) = world.running().await;
    let mut waited = Vec::new();
    for _ in 0..3 {
        assert!(
            world
                .record(id, &claimed, postpone(Duration::from_millis(15)))
                .await
        );
        claimed = again(world, id).await;
        waited.push(claimed.postponed_for.expect("it was put off"));
    }
    assert!(waited[0] >= Duration::from_millis(15), "{waited:?}");
    assert!(waited[2] >= Duration::from_millis(45), "{waited:?}");
    assert!(waited.is_sorted(), "{waited:?}");
    assert!(world.record(id, &claimed, Transition::HandBack).await);
    claimed = world.won(id, 4).await;
    assert!(
        claimed.postponed_for >= waited.last().copied(),
        "a hand-back counts nothing"
    );
    assert!(world.record(id, &claimed, retry(ZERO)).await);
    claimed = again(world, id).await;
    assert_eq!(claimed.postponed_for, None, "that run counted");
    assert_eq!((claimed.failures, claimed.epoch), (1, 6));
}

pub(crate) async fn a_death_is_an_attempt_and_the_end(world: &World) {
    let (id, claimed) = world.running().await;
    assert!(world.record(id, &claimed, retry(ZERO)).await);
    let claimed = again(world, id).await;
    let error = JobError::new(longshore::job::ErrorClass::Timeout, "a\0b", "c\0d");
    assert!(!error.message.contains('\0'), "made storable");
    let transition = Transition::Die {
        error: error.clone(),
    };
    assert!(world.record(id, &claimed, transition).await);
    let view = world.view(id).await;
    assert_eq!(view.state, State::Dead);
    assert_eq!(view.attempt, 2);
    assert_eq!(view.error, Some(error.clone()));
    assert_eq!(view.run_at, None);
    let numbers: Vec<u32> = view
        .attempts()
        .iter()
        .map(|attempt| attempt.number)
        .collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(view.attempts()[1].error, Some(error));
    assert_eq!(view.finished_at, Some(view.attempts()[1].finished_at));
    assert!(world.store.promote_due(10, LONG).await.unwrap().is_none());
}

pub(crate) async fn a_hand_back_is_queued_again_in_the_high_lane(world: &World) {
    let (id, claimed) = world.running().await;
    assert!(world.record(id, &claimed, Transition::HandBack).await);
    let view = world.view(id).await;
    assert_eq!(view.state, State::Queued);
    assert_eq!((view.attempt, view.attempts().len()), (0, 0));
    assert!(!view.priority.is_high(), "only this way back is fast");
    let entries = eventually(async || Some(world.leased().await).filter(|e| !e.is_empty())).await;
    let publications = &entries[0].publications;
    assert_eq!(published(publications), [(id, 1)]);
    assert!(publications[0].priority.is_high());
    let next = world.won(id, 1).await;
    assert_eq!((next.failures, next.crashes), (0, 0));
    assert_eq!(next.epoch, claimed.epoch + 1);
    assert!(next.queued_at >= claimed.started_at, "it waits anew");
}

async fn assert_refused(world: &World, record: Record) {
    let id = record.id;
    let before = world.view(id).await;
    for transition in [
        succeed(),
        retry(ZERO),
        postpone(ZERO),
        die("x"),
        Transition::HandBack,
    ] {
        let record = Record {
            transition,
            ..record.clone()
        };
        let answers = world.store.record(std::slice::from_ref(&record)).await;
        assert_eq!(answers.unwrap(), [false], "{record:?}");
    }
    let after = world.view(id).await;
    assert_eq!(
        serde_json::to_value(&after).unwrap(),
        serde_json::to_value(&before).unwrap()
    );
    assert!(world.leased().await.is_empty());
}

pub(crate) async fn another_owner_is_refused(world: &World) {
    let (id, claimed) = world.running().await;
    let other = world.register("host/2").await;
    for owner in [other, ProcessId(0), ProcessId(-1)] {
        let stolen = Record {
            owner,
            ..record(id, &claimed, succeed())
        };
        assert_refused(world, stolen).await;
    }
    assert!(world.record(id, &claimed, succeed()).await);
}

pub(crate) async fn another_epoch_is_refused(world: &World) {
    let (id, claimed) = world.running().await;
    for epoch in [claimed.epoch - 1, claimed.epoch + 1] {
        let stale = Record {
            epoch,
            ..record(id, &claimed, succeed())
        };
        assert_refused(world, stale).await;
    }
    assert!(world.record(id, &claimed, succeed()).await);
}

pub(crate) async fn a_run_that_ended_is_refused(world: &World) {
    for end in [succeed(), retry(LONG), postpone(LONG), die("x")] {
        let (id, claimed) = world.running().await;
        assert!(world.record(id, &claimed, end).await);
        assert_refused(world, record(id, &claimed, succeed())).await;
    }
    let (id, claimed) = world.running().await;
    assert!(world.record(id, &claimed, Transition::HandBack).await);
    let entries = eventually(async || Some(world.leased().await).filter(|e| !e.is_empty())).await;
    world.store.settle_outbox(&[entries[0].id]).await.unwrap();
    assert_refused(world, record(id, &claimed, succeed())).await;
}

pub(crate) async fn an_unknown_job_is_refused(world: &World) {
    let (_, claimed) = world.running().await;
    assert!(!world.record(JobId::new(), &claimed, retry(ZERO)).await);
}

pub(crate) async fn only_the_first_of_two_records_counts(world: &World) {
    let (id, claimed) = world.running().await;
    let records = [
        record(id, &claimed, retry(LONG)),
        record(id, &claimed, succeed()),
        record(id, &claimed, Transition::HandBack),
        record(id, &claimed, die("x")),
    ];
    let answers = world.store.record(&records).await.unwrap();
    assert_eq!(answers, [true, false, false, false]);
    let view = world.view(id).await;
    assert_eq!((view.state, view.attempts().len()), (State::Retrying, 1));
    assert!(world.leased().await.is_empty());
}

pub(crate) async fn answers_come_in_the_order_of_the_records(world: &World) {
    let jobs = new_jobs(30);
    world.accept(&jobs).await;
    let ends = [
        succeed(),
        retry(LONG),
        postpone(LONG),
        die("x"),
        Transition::HandBack,
    ];
    let mut records = Vec::new();
    for (n, job) in jobs.iter().enumerate().rev() {
        let claimed = world.won(job.id, 1).await;
        let mut record = record(job.id, &claimed, ends[n % 5].clone());
        if n % 4 == 0 {
            record.epoch += 1;
        }
        records.push(record);
    }
    let answers = world.store.record(&records).await.unwrap();
    for ((record, written), n) in records.iter().zip(answers).zip((0..30).rev()) {
        assert_eq!(written, n % 4 != 0, "{n}");
        let state = world.view(record.id).await.state;
        let expected = if written {
            record.transition.target()
        } else {
            State::Running
        };
        assert_eq!(state, expected, "{n}");
    }
    let entries = eventually(async || Some(world.leased().await).filter(|e| !e.is_empty())).await;
    let handed_back: usize = entries.iter().map(|entry| entry.publications.len()).sum();
    assert_eq!(
        handed_back,
        (0..30).filter(|n| n % 5 == 4 && n % 4 != 0).count()
    );
}

pub(crate) async fn one_of_many_recorders_is_believed(world: &World) {
    let (id, claimed) = world.running().await;
    let answers = at_once(world, 20, |store, n| {
        let end = if n % 2 == 0 { succeed() } else { die("x") };
        let records = [record(id, &claimed, end)];
        async move { patiently(|| store.record(&records)).await[0] }
    })
    .await;
    assert_eq!(answers.iter().filter(|written| **written).count(), 1);
    assert_eq!(world.view(id).await.attempts().len(), 1);
}

/// A handler may ask for any delay; a delay past every calendar must not fail its batch.
pub(crate) async fn the_longest_delay_is_kept(world: &World) {
    let id = world.ended(new_job(), retry(Duration::MAX)).await;
    let later = world.ended(new_job(), postpone(Duration::MAX)).await;
    for id in [id, later] {
        let view = world.view(id).await;
        assert!(view.run_at.unwrap() > view.created_at + TimeDelta::days(365 * 100));
    }
    assert!(world.store.promote_due(10, LONG).await.unwrap().is_none());
}
