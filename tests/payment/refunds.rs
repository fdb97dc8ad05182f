use longshore::job::ErrorClass;

use crate::bench::{Bench, Job, REFERENCE, charge, charge_of, code, ends, refund, refund_of};
use crate::fate::{Fate, Mishap};
use crate::payment::RefundState;

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
    // It waits with its charge, through an outage if need be.
    assert_eq!(early.unwrap_err().error().class, ErrorClass::Waiting);
}

#[tokio::test]
async fn the_banks_word_on_a_refund_is_final() {
    for (method, expected) in [
        // The bank sends it back later, when nobody listens.
        ("pm_card_refundFail", "succeeded"),
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
        let told = bench.books.lock().unwrap().refunded.clone();
        assert_eq!(told[REFERENCE], 1000, "dead at point {point}");
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

#[tokio::test]
async fn a_refund_that_is_edited_on_its_way_moves_nothing() {
    let bench = charged().await;
    let other = charge_of("order-2", "pm_card_visa", 4200, "eur");
    bench.finish(Job::new(), &other).await.unwrap();
    let (job, work) = (Job::new(), refund(Some(4000)));
    let outage = Fate::always("refund", Mishap::LostRequest);
    let end = bench.run(job, &work, &outage).await;
    assert_eq!(end.unwrap_err().error().class, ErrorClass::Unavailable);
    // Cancelled, edited and sent back.
    for edited in [
        refund(Some(400)),
        refund(None),
        refund_of("order-2", Some(4000)),
    ] {
        let end = bench.run(job, &edited, &Fate::kind()).await;
        assert_eq!(code(&end), "refund_reused", "{edited:?}");
        assert_eq!(bench.refunded().await, 0, "{edited:?}");
    }
    bench.finish(job, &work).await.unwrap();
    assert_eq!(bench.refunded().await, 4000);
}

#[tokio::test]
async fn a_refused_refund_that_is_edited_gives_back_what_it_now_says() {
    let bench = charged().await;
    let other = charge_of("order-2", "pm_card_visa", 4200, "eur");
    bench.finish(Job::new(), &other).await.unwrap();
    let (job, refused) = (Job::new(), Fate::always("refund", Mishap::Status(400)));
    let end = bench.run(job, &refund(Some(1000)), &refused).await;
    assert_eq!(code(&end), "http_400");
    let edited = refund_of("order-2", Some(700));
    bench.finish(job.sent_back(), &edited).await.unwrap();
    {
        let books = bench.books.lock().unwrap();
        assert_eq!(books.refunds[&job.id].state, RefundState::Succeeded);
        assert_eq!(books.refunds[&job.id].reference, "order-2");
        assert_eq!(books.refunded.get(REFERENCE), None);
        assert_eq!(books.refunded["order-2"], 700);
    }
    let by_intent = bench.count(
        "SELECT count(*) FROM refund JOIN intent ON intent.id = refund.intent
         WHERE intent.metadata ->> 'longshore_reference' = 'order-2' AND refund.amount = 700",
    );
    assert_eq!(by_intent.await, 1);
}

/// A load balancer says 502 while the gateway is still at work: whoever asks again must ask with
/// the same key.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_comes_late_is_the_one_that_was_made_meanwhile() {
    for mishap in [
        Mishap::Status(500),
        Mishap::Status(502),
        Mishap::LostRequest,
    ] {
        for point in 0.. {
            let bench = charged().await;
            let (job, work) = (Job::new(), refund(Some(1000)));
            let fate = Fate::stopping_at(point);
            let mut zombie = bench.start(job, &work, &fate);
            let frozen = tokio::select! {
                () = fate.stopped.cancelled() => true,
                _ = &mut zombie => false,
            };
            if !frozen {
                break;
            }
            let what = format!("{mishap:?}, frozen at point {point}");
            let _ = bench.run(job, &work, &Fate::always("refund", mishap)).await;
            bench.finish(job, &work).await.unwrap();
            fate.thaw.cancel();
            let _ = zombie.await.unwrap();
            assert_eq!(bench.refunded().await, 1000, "{what}");
        }
    }
}

/// An earlier try may still be under way, so the job does not end before the gateway has said.
#[tokio::test]
async fn a_refund_does_not_die_while_money_may_be_moving() {
    for (mishap, call) in [
        (Mishap::Status(429), "refund"),
        (Mishap::Status(409), "refund"),
        (Mishap::Status(429), "refunds"),
    ] {
        let bench = charged().await;
        let (job, work) = (Job::new().on_its_last_attempt(), refund(Some(1000)));
        let end = bench.run(job, &work, &Fate::always(call, mishap)).await;
        let class = end.unwrap_err().error().class;
        assert_eq!(class, ErrorClass::Unavailable, "{mishap:?} at {call}");
        bench.finish(job, &work).await.unwrap();
        assert_eq!(bench.refunded().await, 1000);
    }
}

#[tokio::test]
async fn a_part_that_the_gateway_cannot_move_is_not_refunded() {
    let bench = Bench::new();
    let dinars = charge_of(REFERENCE, "pm_card_visa", 5000, "kwd");
    bench.finish(Job::new(), &dinars).await.unwrap();
    let end = bench.finish(Job::new(), &refund(Some(1001))).await;
    assert_eq!(code(&end), "invalid_amount");
    let end = bench.finish(Job::new(), &refund(Some(1010))).await;
    assert_eq!(code(&end), "succeeded");
    assert_eq!(bench.refunded().await, 1010);
}
