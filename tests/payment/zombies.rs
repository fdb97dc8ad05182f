use std::sync::Arc;

use crate::bench::{Bench, Job, REFERENCE, Work, charge, code};
use crate::fate::{Fate, Mishap};
use crate::payment::PaymentState;

/// Freezes a run at a point; false if it comes to its end before.
async fn frozen(
    bench: &Bench,
    job: Job,
    work: &Work,
    fate: &Arc<Fate>,
) -> Option<tokio::task::JoinHandle<longshore::job::JobResult>> {
    let mut running = bench.start(job, work, fate);
    tokio::select! {
        () = fate.stopped.cancelled() => Some(running),
        _ = &mut running => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_late_changes_nothing() {
    for method in [
        "pm_card_visa",
        "pm_card_visa_chargeDeclined",
        "pm_card_authenticationRequired",
        "pm_sandbox_error",
        "pm_sandbox_cut",
    ] {
        for point in 0.. {
            let bench = Bench::new();
            let (job, work) = (Job::new(), charge(method));
            let fate = Fate::stopping_at(point);
            let Some(zombie) = frozen(&bench, job, &work, &fate).await else {
                break;
            };
            let what = format!("{method}, frozen at point {point}");
            let end = bench.finish(job, &work).await;
            let before = bench.books.lock().unwrap().payments.clone();
            fate.thaw.cancel();
            let late = zombie.await.unwrap();
            assert!(late.is_err() || late == end, "{what}: {late:?}");
            assert_eq!(bench.books.lock().unwrap().payments, before, "{what}");
            bench.assert_true(&what, &end).await;
        }
    }
}

/// The hard one: a worker is frozen just before its confirmation leaves; another one gives the
/// payment up, and says so; then the confirmation leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_that_comes_late_does_not_charge_what_was_given_up() {
    for mishap in [Mishap::Status(429), Mishap::Never(500), Mishap::Status(400)] {
        let mut given_up = 0;
        for point in 0.. {
            let bench = Bench::new();
            let (job, work) = (Job::new().on_its_last_attempt(), charge("pm_card_visa"));
            let fate = Fate::stopping_at(point);
            let Some(zombie) = frozen(&bench, job, &work, &fate).await else {
                break;
            };
            let what = format!("{mishap:?}, frozen at point {point}");
            let end = bench
                .run(job, &work, &Fate::always("confirm", mishap))
                .await;
            fate.thaw.cancel();
            let _ = zombie.await.unwrap();
            bench.assert_true(&what, &end).await;
            let state = bench.books.lock().unwrap().payments[REFERENCE].state;
            match &end {
                Ok(_) => assert_eq!(state, PaymentState::Succeeded, "{what}"),
                Err(_) => {
                    assert_eq!(state, PaymentState::Refused, "{what}: {}", code(&end));
                    given_up += 1;
                }
            }
        }
        assert!(given_up > 4, "{mishap:?}: given up {given_up} times");
    }
}

/// A confirmation that is on its way while its intent is being closed: the gateway takes one of
/// them first, and the ledger says which.
#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_comes_between_giving_up_and_closing_counts() {
    let bench = Bench::new();
    let (job, work) = (Job::new().on_its_last_attempt(), charge("pm_card_visa"));
    // The zombie: frozen before its confirmation leaves.
    let zombie_fate = Fate::stopping_at(6);
    let zombie = frozen(&bench, job, &work, &zombie_fate).await.unwrap();
    // Before the cancellation leaves.
    let closing = Fate::stopping_amid(10, "confirm", Mishap::Status(429));
    let closer = frozen(&bench, job, &work, &closing).await.unwrap();
    let state = bench.books.lock().unwrap().payments[REFERENCE].state;
    assert_eq!(state, PaymentState::Closing);
    assert_eq!(bench.charged().await, 0);
    zombie_fate.thaw.cancel();
    let _ = zombie.await.unwrap();
    assert_eq!(
        bench.charged().await,
        1,
        "the zombie's confirmation charged"
    );
    closing.thaw.cancel();
    let end = closer.await.unwrap();
    assert_eq!(code(&end), "succeeded");
    bench.assert_true("closed too late", &end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_jobs_at_any_two_points_are_one_charge() {
    let mut cases = tokio::task::JoinSet::new();
    for point in 0..12 {
        cases.spawn(async move {
            for method in ["pm_card_visa", "pm_card_visa_chargeDeclined"] {
                let bench = Bench::new();
                let (first, second, work) = (Job::new(), Job::new(), charge(method));
                let fate = Fate::stopping_at(point);
                let running = frozen(&bench, first, &work, &fate).await;
                let what = format!("{method} at point {point}");
                let end = bench.finish(second, &work).await;
                fate.thaw.cancel();
                if let Some(running) = running {
                    let other = running.await.unwrap();
                    assert_eq!(code(&other), code(&end), "{what}");
                }
                bench.assert_true(&what, &end).await;
            }
        });
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}
