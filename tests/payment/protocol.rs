use crate::bench::{Bench, Job, REFERENCE, charge, charge_of, code, ends};
use crate::fate::{Fate, Mishap};
use crate::payment::{Order, PaymentState};

/// Every kind of payment, with what it ends in.
const ENDS: [(&str, &str); 12] = [
    ("pm_card_visa", "succeeded"),
    ("pm_card_visa_chargeDeclined", "generic_decline"),
    (
        "pm_card_visa_chargeDeclinedInsufficientFunds",
        "insufficient_funds",
    ),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ("pm_card_authenticationRequired", "requires_action"),
    ("pm_sandbox_processing", "succeeded"),
    ("pm_sandbox_processing_declined", "generic_decline"),
    ("pm_sandbox_timeout", "succeeded"),
    ("pm_sandbox_error", "succeeded"),
    ("pm_sandbox_cut", "succeeded"),
    ("pm_sandbox_error_charged", "succeeded"),
    ("pm_nobody_knows", "resource_missing"),
];

#[tokio::test]
async fn every_test_card_ends_as_it_should() {
    for (method, expected) in ENDS {
        let bench = Bench::new();
        let end = bench.finish(Job::new(), &charge(method)).await;
        assert_eq!(code(&end), expected, "{method}");
        bench.assert_true(method, &end).await;
    }
}

/// Stripe's names of payment methods for tests, and what each ends in.
const STRIPES: [(&str, &str); 28] = [
    ("pm_card_mastercard_prepaid", "succeeded"),
    ("pm_card_gb", "succeeded"),
    ("pm_card_jp", "succeeded"),
    ("pm_card_bypassPending", "succeeded"),
    ("pm_card_createDispute", "succeeded"),
    ("pm_card_riskLevelElevated", "succeeded"),
    ("pm_card_cvcCheckFail", "succeeded"),
    ("pm_card_avsFail", "succeeded"),
    ("pm_card_refundFail", "succeeded"),
    ("pm_card_pendingRefund", "succeeded"),
    ("pm_card_visa_chargeDeclined", "generic_decline"),
    (
        "pm_card_visa_chargeDeclinedInsufficientFunds",
        "insufficient_funds",
    ),
    ("pm_card_visa_chargeDeclinedLostCard", "lost_card"),
    ("pm_card_visa_chargeDeclinedStolenCard", "stolen_card"),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc"),
    ("pm_card_chargeDeclinedProcessingError", "processing_error"),
    (
        "pm_card_visa_chargeDeclinedVelocityLimitExceeded",
        "card_velocity_exceeded",
    ),
    ("pm_card_chargeDeclinedFraudulent", "fraudulent"),
    ("pm_card_chargeCustomerFail", "generic_decline"),
    ("pm_card_radarBlock", "fraudulent"),
    ("pm_card_riskLevelHighest", "fraudulent"),
    ("pm_card_authenticationRequired", "requires_action"),
    ("pm_card_authenticationRequiredOnSetup", "requires_action"),
    (
        "pm_card_authenticationRequiredSetupForOffSession",
        "requires_action",
    ),
    ("pm_card_threeDSecure2Required", "requires_action"),
    ("pm_card_threeDSecureRequired", "requires_action"),
    (
        "pm_card_threeDSecureRequiredChargeDeclined",
        "requires_action",
    ),
];

#[tokio::test]
async fn the_sandbox_knows_stripes_test_payment_methods() {
    let bench = Bench::new();
    for (n, (method, expected)) in STRIPES.into_iter().enumerate() {
        let work = charge_of(&format!("order-{n}"), method, 4200, "eur");
        let end = bench.finish(Job::new(), &work).await;
        assert_eq!(code(&end), expected, "{method}");
    }
}

#[tokio::test]
async fn a_key_that_is_used_for_something_else_is_refused() {
    let bench = Bench::new();
    let mut order = Order {
        amount: 4200,
        currency: "eur".to_owned(),
        payment_method: "pm_card_visa".to_owned(),
        customer: None,
        description: None,
        metadata: std::collections::BTreeMap::new(),
    };
    let first = bench.gateway.create(&order, "key").await.unwrap();
    assert_eq!(bench.gateway.create(&order, "key").await.unwrap(), first);
    order.amount = 42;
    let error = bench.gateway.create(&order, "key").await.unwrap_err();
    assert_eq!(error.code, "idempotency_error");
    assert!(error.spent_the_key());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_any_point_leaves_what_the_next_run_finishes() {
    let mut cases = tokio::task::JoinSet::new();
    for (method, expected) in ENDS {
        cases.spawn(async move {
            let mut deaths = 0;
            loop {
                let bench = Bench::new();
                let (job, work) = (Job::new(), charge(method));
                let fate = Fate::stopping_at(deaths);
                let mut running = bench.start(job, &work, &fate);
                let died = tokio::select! {
                    () = fate.stopped.cancelled() => true,
                    _ = &mut running => false,
                };
                running.abort();
                let what = format!("{method}, dead at point {deaths}");
                let end = bench.finish(job, &work).await;
                assert_eq!(code(&end), expected, "{what}");
                bench.assert_true(&what, &end).await;
                if !died {
                    return deaths;
                }
                deaths += 1;
            }
        });
    }
    while let Some(points) = cases.join_next().await {
        assert!(points.unwrap() >= 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_deaths_at_any_two_points_charge_once() {
    let mut cases = tokio::task::JoinSet::new();
    for first in 0..12 {
        cases.spawn(async move {
            for second in 0..12 {
                let bench = Bench::new();
                let (job, work) = (Job::new(), charge("pm_card_visa"));
                for point in [first, second] {
                    let fate = Fate::stopping_at(point);
                    let mut running = bench.start(job, &work, &fate);
                    tokio::select! {
                        () = fate.stopped.cancelled() => {}
                        _ = &mut running => {}
                    }
                    running.abort();
                }
                let what = format!("dead at {first} and {second}");
                let end = bench.finish(job, &work).await;
                assert_eq!(code(&end), "succeeded", "{what}");
                assert_eq!(bench.charged().await, 1, "{what}");
            }
        });
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

const MISHAPS: [Mishap; 13] = [
    Mishap::LostRequest,
    Mishap::LostAnswer,
    Mishap::Status(500),
    Mishap::DoneWith(500),
    Mishap::DoneWith(502),
    Mishap::Status(409),
    Mishap::Status(429),
    Mishap::Status(401),
    Mishap::Status(403),
    Mishap::Status(400),
    Mishap::Never(500),
    Mishap::Never(409),
    Mishap::DoneWith(409),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_mishap_at_any_call_ends_in_the_truth() {
    let mut cases = tokio::task::JoinSet::new();
    for mishap in MISHAPS {
        cases.spawn(async move {
            for (method, call, last) in [
                "pm_card_visa",
                "pm_card_visa_chargeDeclined",
                "pm_card_authenticationRequired",
            ]
            .into_iter()
            .flat_map(|method| (0..5).map(move |call| (method, call)))
            .flat_map(|(method, call)| [false, true].map(|last| (method, call, last)))
            {
                let bench = Bench::new();
                let (mut job, work) = (Job::new(), charge(method));
                job.last = last;
                let what = format!("{method}, {mishap:?} at call {call}, last: {last}");
                let fate = Fate::mishap_at(call, mishap);
                let mut end = bench.run(job, &work, &fate).await;
                let dead = |end: &longshore::job::JobResult| match end {
                    Ok(_) => true,
                    Err(failure) => {
                        ends(failure)
                            || (last
                                && failure.error().class == longshore::job::ErrorClass::Retryable)
                    }
                };
                if !dead(&end) {
                    end = bench.finish(job, &work).await;
                }
                bench.assert_true(&what, &end).await;
                let state = bench.books.lock().unwrap().payments[REFERENCE].state;
                match &end {
                    Ok(_) => assert_eq!(state, PaymentState::Succeeded, "{what}"),
                    Err(_) => assert_eq!(state, PaymentState::Refused, "{what}"),
                }
            }
        });
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

#[tokio::test]
async fn a_reference_is_charged_once_whoever_asks() {
    let bench = Bench::new();
    let work = charge("pm_card_visa");
    let first = bench.finish(Job::new(), &work).await.unwrap();
    let second = bench.finish(Job::new(), &work).await.unwrap();
    assert_eq!(first, second);
    let other = bench
        .finish(Job::new(), &charge("pm_card_mastercard"))
        .await;
    assert_eq!(code(&other), "reference_reused");
    assert_eq!(bench.charged().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_at_once_with_one_reference_are_one_charge() {
    let bench = Bench::new();
    let work = charge("pm_card_visa");
    let runs = (0..20).map(|_| bench.finish(Job::new(), &work));
    let ends = futures::future::join_all(runs).await;
    assert!(ends.iter().all(|end| code(end) == "succeeded"), "{ends:?}");
    assert_eq!(bench.charged().await, 1);
}

#[tokio::test]
async fn a_refusal_holds_for_others_and_a_job_that_is_sent_back_tries_again() {
    let bench = Bench::new();
    let declined = charge("pm_card_visa_chargeDeclined");
    let mut job = Job::new();
    let end = bench.run(job, &declined, &Fate::kind()).await;
    assert_eq!(code(&end), "generic_decline");
    let intent = |bench: &Bench| {
        bench.books.lock().unwrap().payments[REFERENCE]
            .intent
            .clone()
    };
    let first = intent(&bench);
    // Redelivered before its death was recorded, or put off: not sent back.
    let end = bench.run(job, &declined, &Fate::kind()).await;
    assert_eq!(code(&end), "generic_decline");
    let end = bench.run(Job::new(), &declined, &Fate::kind()).await;
    assert_eq!(code(&end), "generic_decline");
    assert_eq!(intent(&bench), first, "nobody asked for another try");
    job = job.sent_back();
    let end = bench.run(job, &declined, &Fate::kind()).await;
    assert_eq!(code(&end), "generic_decline");
    assert_ne!(intent(&bench), first);
    // Sent back with another card.
    job = job.sent_back();
    let end = bench.run(job, &charge("pm_card_visa"), &Fate::kind()).await;
    assert_eq!(code(&end), "succeeded");
    assert_eq!(bench.charged().await, 1);
}

#[tokio::test]
async fn a_restart_of_the_sandbox_remembers_what_was_charged() {
    let dir = crate::support::dir::TestDir::new("sandbox");
    let (books, work) = (std::sync::Arc::default(), charge("pm_card_visa"));
    let job = Job::new();
    for _ in 0..2 {
        let sandbox = crate::payment::Sandbox::in_folder(dir.path());
        let ledger = crate::memory::MemoryLedger::claim(&books, job.id);
        let run = crate::payment::Run {
            gateway: &sandbox,
            ledger: &ledger,
            who: job.who(),
            cancelled: &tokio_util::sync::CancellationToken::new(),
        };
        let crate::bench::Work::Charge(payload) = &work else {
            unreachable!()
        };
        let _ = run.charge(payload).await;
        // The database is lost, the gateway is not.
        let mut held: std::sync::MutexGuard<'_, crate::memory::Books> = books.lock().unwrap();
        held.payments.clear();
        held.succeeded.clear();
    }
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("sandbox-gateway.db"));
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let charged: i64 = sqlx::query_scalar("SELECT count(*) FROM intent WHERE status = 'succeeded'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(charged, 1);
}
