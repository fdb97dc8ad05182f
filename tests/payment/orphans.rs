//! Payments whose jobs ended without learning what became of them, and jobs that were edited.

use longshore::job::ErrorClass;

use crate::bench::{Bench, Job, REFERENCE, charge, code, ends, refund};
use crate::fate::{Fate, Mishap};
use crate::payment::PaymentState;

/// What the ledger says is what the gateway did.
async fn truthful(bench: &Bench, what: &str) {
    let charged = bench.charged().await;
    let state = bench.state();
    assert_eq!(
        charged == 1,
        state == PaymentState::Succeeded,
        "{what}: {state:?}"
    );
    assert!(charged <= 1, "{what}");
}

#[tokio::test]
async fn a_refund_learns_what_became_of_a_charge_whose_job_was_cancelled() {
    for (method, expected) in [
        ("pm_sandbox_processing", "succeeded"),
        ("pm_sandbox_processing_declined", "not_charged"),
    ] {
        let bench = Bench::new();
        let job = Job::new();
        let end = bench.run(job, &charge(method), &Fate::kind()).await;
        assert_eq!(code(&end), "payment_processing");
        bench.end(job);
        let early = bench.run(Job::new(), &refund(None), &Fate::kind()).await;
        assert_eq!(code(&early), "charge_unfinished");
        let end = bench.finish(Job::new(), &refund(None)).await;
        assert_eq!(code(&end), expected, "{method}");
        truthful(&bench, method).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_truth_of_a_charge_is_learnt_wherever_its_job_ended() {
    let mut cases = tokio::task::JoinSet::new();
    for method in [
        "pm_card_visa",
        "pm_card_visa_chargeDeclined",
        "pm_card_authenticationRequired",
        "pm_sandbox_cut",
    ] {
        cases.spawn(async move {
            for point in 0.. {
                let bench = Bench::new();
                let (job, work) = (Job::new(), charge(method));
                let fate = Fate::stopping_at(point);
                let mut zombie = bench.start(job, &work, &fate);
                tokio::select! {
                    () = fate.stopped.cancelled() => {}
                    _ = &mut zombie => return point,
                }
                let what = format!("{method}, ended at point {point}");
                if bench.books.lock().unwrap().succeeded.contains_key(&job.id) {
                    return point;
                }
                bench.end(job);
                bench.catch_up().await;
                // It was only frozen: what it still sends changes nothing.
                fate.thaw.cancel();
                let _ = zombie.await.unwrap();
                if bench.books.lock().unwrap().payments.is_empty() {
                    continue;
                }
                let row = bench.books.lock().unwrap().payments[REFERENCE].clone();
                truthful(&bench, &what).await;
                assert!(
                    row.intent.is_none() || !row.is_unfinished(),
                    "{what}: {row:?}"
                );
                // Whoever sends it back wants it charged; another card, if the first is no good.
                let same = method == "pm_card_visa";
                let card = if same { method } else { "pm_card_mastercard" };
                let end = bench.finish(job, &charge(card)).await;
                let expected = match row.state {
                    PaymentState::Succeeded if !same => "reference_reused",
                    _ => "succeeded",
                };
                assert_eq!(code(&end), expected, "{what}");
                assert_eq!(bench.charged().await, 1, "{what}");
            }
            unreachable!()
        });
    }
    while let Some(points) = cases.join_next().await {
        assert!(points.unwrap() >= 8);
    }
}

#[tokio::test]
async fn nothing_is_charged_for_a_run_that_is_to_stop() {
    let bench = Bench::new();
    let fate = Fate::kind();
    fate.cancelled.cancel();
    let (job, work) = (Job::new(), charge("pm_card_visa"));
    let end = bench.run(job, &work, &fate).await;
    assert_eq!(code(&end), "payment_stopped");
    assert_eq!(end.unwrap_err().error().class, ErrorClass::Waiting);
    assert_eq!(bench.presented().await, 0);
    bench.finish(job, &work).await.unwrap();
    let end = bench.run(Job::new(), &refund(None), &fate).await;
    assert_eq!(code(&end), "payment_stopped");
    assert_eq!(bench.refunded().await, 0);
}

#[tokio::test]
async fn a_reference_is_not_burnt_by_a_job_that_never_reached_the_gateway() {
    let bench = Bench::new();
    let (job, busy) = (Job::new(), Fate::always("create", Mishap::Status(429)));
    let last = job.on_its_last_attempt();
    let end = bench.run(last, &charge("pm_card_visa"), &busy).await;
    assert_eq!(code(&end), "http_429");
    assert!(ends(&end.unwrap_err()));
    assert_eq!(bench.state(), PaymentState::Refused);
    let end = bench
        .finish(job.sent_back(), &charge("pm_card_mastercard"))
        .await;
    assert_eq!(code(&end), "succeeded");
}

/// A job that is edited on its way charges the new card, and the old one never again.
#[tokio::test(flavor = "multi_thread")]
async fn an_edited_job_gives_up_what_it_was() {
    for point in 0.. {
        let bench = Bench::new();
        let (job, work) = (Job::new(), charge("pm_card_visa"));
        let fate = Fate::stopping_at(point);
        let mut zombie = bench.start(job, &work, &fate);
        let frozen = tokio::select! {
            () = fate.stopped.cancelled() => true,
            _ = &mut zombie => false,
        };
        if !frozen {
            break;
        }
        let what = format!("edited at point {point}");
        let end = bench.finish(job, &charge("pm_card_mastercard")).await;
        fate.thaw.cancel();
        let _ = zombie.await.unwrap();
        assert!(
            matches!(code(&end), "succeeded" | "reference_reused"),
            "{what}: {}",
            code(&end)
        );
        truthful(&bench, &what).await;
        assert_eq!(bench.charged().await, 1, "{what}");
    }
}

/// The answer to a commit that is lost is nobody's wish to try again.
#[tokio::test(flavor = "multi_thread")]
async fn a_declined_card_is_presented_once_whichever_answer_of_the_database_is_lost() {
    for call in 0.. {
        let bench = Bench::new();
        let (job, work) = (Job::new(), charge("pm_card_visa_chargeDeclined"));
        let end = bench.run(job, &work, &Fate::losing_commit(call)).await;
        let lost = end.is_err_and(|failure| !ends(&failure));
        let end = bench.finish(job, &work).await;
        assert_eq!(code(&end), "generic_decline", "answer {call} lost");
        assert_eq!(bench.presented().await, 1, "answer {call} lost");
        if !lost {
            assert!(call > 3);
            break;
        }
    }
}
