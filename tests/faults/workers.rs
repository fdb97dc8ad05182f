use std::time::{Duration, Instant};

use crate::site::Site;
use crate::support::wait::{PATIENCE, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_a_killed_worker_run_again_elsewhere_ahead_of_the_backlog() {
    let site = Site::start().await;
    let mut doomed = site.worker().await;
    let held = site.submit_sleeps(8, 20_000).await;
    site.started(8).await;
    // Behind them a backlog that keeps the survivor busy.
    let backlog = site.submit_sleeps(100, 200).await;
    doomed.kill9();
    let killed = Instant::now();
    let _survivor = site.worker().await;
    site.started(8 + 8).await;
    until(
        "a job of the dead worker runs again",
        PATIENCE,
        async || {
            let marks = site.marks();
            held.iter().any(|id| marks[id].starts == 2).then_some(())
        },
    )
    .await;
    eprintln!(
        "rescued {:.1} s after the kill",
        killed.elapsed().as_secs_f64()
    );
    site.nothing_burned(&backlog).await;
    site.nothing_burned(&held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_loses_its_jobs_and_its_late_result_is_refused() {
    let site = Site::start().await;
    let mut frozen = site.worker().await;
    let ids = site.submit_sleeps(4, 3_000).await;
    site.started(4).await;
    frozen.freeze();
    let mut other = site.worker().await;
    let jobs = site.all(&ids, "succeeded").await;
    for job in &jobs {
        let worker = job["attempts"][0]["worker"].as_str().unwrap();
        assert!(worker.ends_with(&format!("/{}", other.pid())), "{job}");
    }
    frozen.thaw();
    frozen.wait_for_line("declared dead", PATIENCE).await;
    // It works on under a new number, and nothing it did late has changed a thing.
    let more = site.submit_sleeps(40, 50).await;
    site.nothing_burned(&more).await;
    for (id, before) in ids.iter().zip(&jobs) {
        assert_eq!(&site.job(id).await, before);
    }
    assert!(other.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_frozen_in_the_middle_of_a_transaction_holds_nobody_up() {
    let site = Site::start().await;
    let mut workers = [
        site.worker().await,
        site.worker().await,
        site.worker().await,
    ];
    let mut ids = Vec::new();
    for worker in &mut workers[..2] {
        // Short jobs: nearly always a claim or an outcome is being written.
        ids.extend(site.submit_sleeps(300, 1).await);
        worker.freeze();
        ids.extend(site.submit_sleeps(100, 1).await);
    }
    site.nothing_burned(&ids).await;
    for frozen in &mut workers[..2] {
        frozen.thaw();
    }
    let more = site.submit_sleeps(50, 1).await;
    site.nothing_burned(&more).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_every_process_at_random_moments_loses_nothing() {
    let mut site = Site::start().await;
    let mut ids = Vec::new();
    let mut workers = vec![site.worker().await, site.worker().await];
    for round in 0..4_u64 {
        ids.extend(site.submit_sleeps(60, 20).await);
        // Moments that differ, and are the same in every run.
        tokio::time::sleep(Duration::from_millis(37 * round)).await;
        if round % 2 == 0 {
            workers[usize::try_from(round / 2).unwrap() % 2].kill9();
            workers.push(site.worker().await);
        } else {
            site.intake.as_mut().unwrap().kill9();
            site.start_intake().await;
        }
    }
    site.all(&ids, "succeeded").await;
    site.nothing_burned(&ids).await;
    let marks = site.marks();
    for id in &ids {
        assert!(marks[id].ends >= 1, "{id} succeeded without an end");
    }
}
