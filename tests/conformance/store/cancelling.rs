use longshore::job::{ErrorClass, JobError, JobId, State, Transition};
use longshore::store::{Action, Claim, Operated};

use super::world::{
    LONG, World, ZERO, at_once, die, job_after, new_job, patiently, postpone, retry, succeed,
};

async fn cancel(world: &World, id: JobId) -> Operated {
    world.store.cancel(id, "somebody").await.unwrap()
}

fn cancelled() -> Transition {
    Transition::Cancel { failure: None }
}

pub(crate) async fn what_waits_is_cancelled_at_once(world: &World) {
    let scheduled = job_after(LONG);
    world.accept(std::slice::from_ref(&scheduled)).await;
    let waiting = [
        scheduled.id,
        world.queued().await,
        world.ended(new_job(), retry(LONG)).await,
        world.ended(new_job(), postpone(LONG)).await,
    ];
    for id in waiting {
        let before = world.view(id).await;
        assert_eq!(cancel(world, id).await, Operated::Done);
        let view = world.view(id).await;
        assert_eq!(view.state, State::Cancelled);
        assert!(view.finished_at.is_some() && view.run_at.is_none());
        assert_eq!(view.error, before.error, "it keeps the error that it had");
        assert_eq!(view.attempts().len(), before.attempts().len());
        assert_eq!(cancel(world, id).await, Operated::Already);
    }
    assert_eq!(world.store.tally().await.unwrap().cancelled, 4);
}

pub(crate) async fn a_cancelled_jobs_message_is_stale(world: &World) {
    let id = world.queued().await;
    assert_eq!(cancel(world, id).await, Operated::Done);
    assert_eq!(world.lost(id, 1).await.state, State::Cancelled);
    assert_eq!(world.store.publication(id, 1).await.unwrap(), None);
}

pub(crate) async fn what_runs_is_asked_to_stop(world: &World) {
    let (id, claimed) = world.running().await;
    let (other, _) = world.running().await;
    assert!(!world.view(id).await.cancel_requested);
    for _ in 0..2 {
        assert_eq!(cancel(world, id).await, Operated::Requested);
        let view = world.view(id).await;
        assert_eq!((view.state, view.cancel_requested), (State::Running, true));
    }
    let requests = world.store.cancel_requests(world.process).await.unwrap();
    assert_eq!(requests, [(id, claimed.epoch)], "not {other}");
    let elsewhere = world.register("host/2").await;
    assert_eq!(
        world.store.cancel_requests(elsewhere).await.unwrap(),
        [],
        "it runs somewhere else"
    );
    assert!(world.record(id, &claimed, cancelled()).await);
    let view = world.view(id).await;
    assert_eq!(
        (view.state, view.cancel_requested),
        (State::Cancelled, false)
    );
    assert_eq!((view.attempt, view.attempts().len()), (0, 0));
    assert_eq!(
        world.store.cancel_requests(world.process).await.unwrap(),
        []
    );
}

pub(crate) async fn an_end_that_comes_first_wins(world: &World) {
    for (came, expected, attempts) in [
        (succeed(), State::Succeeded, 1),
        (die("smtp_550"), State::Dead, 1),
        (retry(ZERO), State::Cancelled, 1),
        (postpone(ZERO), State::Cancelled, 0),
        (Transition::HandBack, State::Cancelled, 0),
    ] {
        let (id, claimed) = world.running().await;
        assert_eq!(cancel(world, id).await, Operated::Requested);
        assert!(world.record(id, &claimed, came.clone()).await);
        let view = world.view(id).await;
        assert_eq!(view.state, expected, "{came:?}");
        assert_eq!(view.attempts().len(), attempts, "{came:?}");
    }
    let nothing = world.store.promote_due(10, LONG).await.unwrap();
    assert!(nothing.is_none(), "none of them runs again");
    assert!(world.leased().await.is_empty());
}

pub(crate) async fn a_failure_before_the_stop_is_an_attempt(world: &World) {
    let (id, claimed) = world.running().await;
    cancel(world, id).await;
    let error = JobError::new(ErrorClass::Timeout, "timeout", "too slow");
    let failure = Some(error.clone());
    assert!(
        world
            .record(id, &claimed, Transition::Cancel { failure })
            .await
    );
    let view = world.view(id).await;
    assert_eq!((view.state, view.attempt), (State::Cancelled, 1));
    assert_eq!(view.error, Some(error.clone()));
    assert_eq!(view.attempts()[0].error, Some(error));
}

pub(crate) async fn a_cancelled_job_does_not_outlive_its_dead_worker(world: &World) {
    for buried in [true, false] {
        let doomed = world.register("host/9").await;
        let (asked, kept) = (world.queued().await, world.queued().await);
        for id in [asked, kept] {
            let claim = world.claim(doomed, id, 1).await;
            assert!(matches!(claim, Claim::Won(_)));
        }
        assert_eq!(cancel(world, asked).await, Operated::Requested);
        if buried {
            let counter = world.counter(doomed).await;
            let rescued = world.store.bury(doomed, counter).await.unwrap();
            assert_eq!(rescued, Some(1));
        } else {
            assert_eq!(world.store.retire(doomed).await.unwrap(), 1);
        }
        assert_eq!(world.view(asked).await.state, State::Cancelled);
        assert_eq!(world.view(kept).await.state, State::Queued);
    }
}

pub(crate) async fn what_has_ended_is_not_cancelled(world: &World) {
    for (end, state) in [
        (succeed(), State::Succeeded),
        (die("smtp_550"), State::Dead),
    ] {
        let id = world.ended(new_job(), end).await;
        assert_eq!(cancel(world, id).await, Operated::Refused(state));
        assert_eq!(world.view(id).await.state, state);
    }
    assert_eq!(cancel(world, JobId::new()).await, Operated::Unknown);
    assert!(world.store.operations(10, None).await.unwrap().is_empty());
}

pub(crate) async fn who_cancelled_what_is_on_record(world: &World) {
    let id = world.queued().await;
    world.store.cancel(id, "cli:ada").await.unwrap();
    world.store.cancel(id, "cli:bob").await.unwrap();
    let done = world.store.operations(10, None).await.unwrap();
    assert_eq!(done.len(), 1, "the second changed nothing");
    assert_eq!(done[0].action, Action::Cancel);
    let filter = done[0].filter.as_ref().unwrap();
    assert_eq!(
        (&done[0].created_by[..], &filter.ids[..]),
        ("cli:ada", &[id][..])
    );
    assert!(done[0].state.is_final() && done[0].finished_at.is_some());
}

/// A claim comes before or after a cancellation, never between: whoever wins, the job is
/// cancelled or its worker knows.
pub(crate) async fn claims_and_cancellations_do_not_overlap(world: &World) {
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(world.queued().await);
    }
    let (process, all) = (world.process, ids.clone());
    at_once(world, 24, move |store, n| {
        let id = all[n / 2];
        async move {
            if n % 2 == 0 {
                patiently(|| store.cancel(id, "somebody")).await;
            } else {
                let request = longshore::store::ClaimRequest {
                    id,
                    dispatch: 1,
                    over_epoch: None,
                };
                let requests = [request];
                patiently(|| store.claim(process, &requests)).await;
            }
        }
    })
    .await;
    let asked = world.store.cancel_requests(process).await.unwrap();
    for id in ids {
        let view = world.view(id).await;
        match view.state {
            State::Cancelled => {}
            State::Running => assert!(asked.iter().any(|(asked, _)| *asked == id)),
            other => panic!("{id} is {other}"),
        }
    }
}
