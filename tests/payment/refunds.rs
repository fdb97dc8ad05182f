use crate::bench::{Bench, Job, charge, code, ends, refund};
use crate::fate::{Fate, Mishap};
use longshore::job::ErrorClass;

async fn charged() -> Bench {
    let bench = Bench::new();
    let end = bench.finish(Job::new(), &charge("pm_card_visa")).await;
    assert_eq!(code(&end), "succeeded");
    bench
}

#[tokio::test]
async fn refunds_add_up_to_the_charge_and_never_beyond() {
    let bench = charged().await;
    for (amount, expected, total) in [
        (Some(4201), "refund_exceeds_charge", 0),
        (Some(1000), "succeeded", 1000),
        (Some(3201), "refund_exceeds_charge", 1000),
        (None, "succeeded", 4200),
        (None, "refund_exceeds_charge", 4200),
        (Some(1), "refund_exceeds_charge", 4200),
    ] {
        let end = bench.finish(Job::new(), &refund(amount)).await;
        assert_eq!(code(&end), expected, "{amount:?}");
        assert_eq!(bench.refunded().await, total);
    }
}

#[tokio::test]
async fn only_what_was_charged_can_be_refunded() {
    let bench = Bench::new();
    let end = bench.finish(Job::new(), &refund(None)).await;
    assert_eq!(code(&end), "unknown_reference");
    let declined = charge("pm_card_visa_chargeDeclined");
    bench.finish(Job::new(), &declined).await.unwrap_err();
    let end = bench.finish(Job::new(), &refund(None)).await;
    assert_eq!(code(&end), "not_charged");
    let bench = Bench::new();
    let end = bench
        .run(Job::new(), &charge("pm_sandbox_processing"), &Fate::kind())
        .await;
    assert_eq!(code(&end), "payment_processing");
    let early = bench.run(Job::new(), &refund(None), &Fate::kind()).await;
    assert_eq!(code(&early), "charge_unfinished");
    assert_eq!(early.unwrap_err().error().class, ErrorClass::Retryable);
}

#[tokio::test]
async fn the_banks_word_on_a_refund_is_final() {
    for (method, expected) in [
        ("pm_card_refundFail", "refund_failed"),
        ("pm_card_pendingRefund", "succeeded"),
    ] {
        let bench = Bench::new();
        bench.finish(Job::new(), &charge(method)).await.unwrap();
        let end = bench.finish(Job::new(), &refund(None)).await;
        assert_eq!(code(&end), expected, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_any_point_of_a_refund_gives_the_money_back_once() {
    for point in 0.. {
        let bench = charged().await;
        let (job, work) = (Job::new(), refund(Some(1000)));
        let fate = Fate::stopping_at(point);
        let mut running = bench.start(job, &work, &fate);
        let died = tokio::select! {
            () = fate.stopped.cancelled() => true,
            _ = &mut running => false,
        };
        running.abort();
        let end = bench.finish(job, &work).await;
        assert_eq!(code(&end), "succeeded", "dead at point {point}");
        assert_eq!(bench.refunded().await, 1000, "dead at point {point}");
        if !died {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mishap_at_any_call_of_a_refund_ends_in_the_truth() {
    for mishap in [
        Mishap::LostRequest,
        Mishap::LostAnswer,
        Mishap::Status(500),
        Mishap::DoneWith(500),
        Mishap::Status(409),
        Mishap::DoneWith(409),
        Mishap::Status(429),
        Mishap::Status(400),
        Mishap::Never(500),
        Mishap::DoneWith(400),
    ] {
        for call in 0..3 {
            let bench = charged().await;
            let (job, work) = (Job::new(), refund(Some(1000)));
            let what = format!("{mishap:?} at call {call}");
            let mut end = bench.run(job, &work, &Fate::mishap_at(call, mishap)).await;
            if end.as_ref().is_err_and(|failure| !ends(failure)) {
                end = bench.finish(job, &work).await;
            }
            let expected = if end.is_ok() { 1000 } else { 0 };
            assert_eq!(bench.refunded().await, expected, "{what}: {}", code(&end));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_at_once_never_exceed_the_charge() {
    let bench = charged().await;
    let work = refund(Some(1000));
    let runs = (0..10).map(|_| bench.finish(Job::new(), &work));
    let ends = futures::future::join_all(runs).await;
    let made = ends.iter().filter(|end| end.is_ok()).count();
    assert_eq!(made, 4, "{ends:?}");
    assert_eq!(bench.refunded().await, 4000);
}
