use std::time::Duration;

use crate::site::Site;
use crate::support::record::fault;
use crate::support::wait::PATIENCE;

/// What is queued behind the jobs of the worker that is killed.
const BACKLOG: usize = 100_000;
/// The jobs of that worker: it has no slot left.
const HELD: usize = 64;
const MANY: &str = r#"
[queues.probe]
kinds = ["probe.sleep"]
concurrency = 64
prefetch = 256
timeout = "60s"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_a_killed_worker_run_again_elsewhere_ahead_of_the_backlog() {
    let mut fault = fault!("A worker is killed with 100,000 jobs queued behind its own");
    let site = Site::with_queues(MANY).await;
    let held = site.submit_batches(HELD, 10_000).await;
    let backlog = site.submit_batches(BACKLOG, 20).await;
    let mut doomed = site.worker().await;
    site.started(HELD).await;
    let _survivor = site.worker().await;
    fault.cuts_off(&doomed);
    doomed.kill9();
    fault.over_for(&held);
    // At rest far later; 20 ms in 64 slots are 3,200 jobs a second at the very most.
    site.rests_within(PATIENCE * 5).await;
    let starts = site.starts();
    let again = |id: &String| starts.iter().rposition(|started| started == id).unwrap();
    let last = held.iter().map(again).max().unwrap();
    eprintln!("the last of them was start {last} of {}", starts.len());
    assert!(last < BACKLOG / 2, "they waited behind the backlog: {last}");
    let marks = site.marks();
    assert!(
        held.iter().all(|id| marks[id].starts == 2),
        "killed too early or too late"
    );
    site.hand_in(fault, &[held, backlog].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_loses_its_jobs_and_its_late_result_is_refused() {
    let mut fault = fault!("A worker is frozen, and wakes when others have done its jobs");
    let site = Site::start().await;
    let mut frozen = site.worker().await;
    let ids = site.submit_sleeps(4, 3_000).await;
    site.started(4).await;
    fault.cuts_off(&frozen);
    frozen.freeze();
    fault.over_for(&ids);
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
    site.hand_in(fault, &[ids, more].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_frozen_in_the_middle_of_a_transaction_holds_nobody_up() {
    let mut fault = fault!("Workers are frozen in the middle of a transaction");
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
        fault.cuts_off(worker);
        worker.freeze();
        fault.over();
        ids.extend(site.submit_sleeps(100, 1).await);
    }
    site.nothing_burned(&ids).await;
    for frozen in &mut workers[..2] {
        frozen.thaw();
    }
    let more = site.submit_sleeps(50, 1).await;
    site.nothing_burned(&more).await;
    ids.extend(more);
    site.hand_in(fault, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_every_process_at_random_moments_loses_nothing() {
    let mut fault = fault!("Workers and intake are killed one after another");
    let mut site = Site::start().await;
    let mut ids = Vec::new();
    let mut workers = vec![site.worker().await, site.worker().await];
    for round in 0..4_u64 {
        ids.extend(site.submit_sleeps(60, 20).await);
        // Moments that differ, and are the same in every run.
        tokio::time::sleep(Duration::from_millis(37 * round)).await;
        if round % 2 == 0 {
            let doomed = &mut workers[usize::try_from(round / 2).unwrap() % 2];
            fault.cuts_off(doomed);
            doomed.kill9();
            workers.push(site.worker().await);
        } else {
            site.intake.as_mut().unwrap().kill9();
            site.start_intake().await;
        }
    }
    fault.over();
    ids.extend(site.submit_sleeps(1, 1).await);
    site.all(&ids, "succeeded").await;
    site.nothing_burned(&ids).await;
    let marks = site.marks();
    for id in &ids {
        assert!(marks[id].ends >= 1, "{id} succeeded without an end");
    }
    site.hand_in(fault, &ids).await;
}
