use crate::site::Site;
use crate::support::record::fault;
use crate::support::wait::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_worker_finishes_what_runs_and_leaves_the_rest_to_the_others() {
    let mut fault = fault!("A worker is told to stop, with jobs running and others in its hands");
    let site = Site::start().await;
    let mut leaving = site.worker().await;
    let running = site.submit_sleeps(8, 12_000).await;
    site.started(8).await;
    // Some of these are in the leaving worker's hands when it is told to stop.
    let waiting = site.submit_sleeps(30, 100).await;
    let mut staying = site.worker().await;
    leaving.term();
    fault.over();
    site.nothing_burned(&waiting).await;
    assert!(
        leaving.is_running(),
        "what it had not started waited for what it had"
    );
    assert!(leaving.wait_exit(PATIENCE).await.success());
    site.nothing_burned(&running).await;
    let marks = site.marks();
    for id in &running {
        assert_eq!(marks[id].starts, 1, "{id} ran again");
        assert_eq!(
            marks[id].pids,
            [leaving.pid()],
            "{id} was not finished where it ran"
        );
    }
    for id in &waiting {
        assert_eq!((marks[id].starts, marks[id].ends), (1, 1), "{id}");
    }
    assert!(staying.is_running());
    site.hand_in(fault, &[running, waiting].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_deadline_cuts_off_is_handed_back_with_nothing_counted() {
    let mut fault = fault!("A stopping worker's deadline cuts off its jobs");
    let site = Site::start().await;
    let settings = [("LONGSHORE_SHUTDOWN_DEADLINE", "1s")];
    let mut leaving = site.worker_with(&settings).await;
    let ids = site.submit_sleeps(8, 6_000).await;
    site.started(8).await;
    fault.cuts_off(&leaving);
    let _other = site.worker().await;
    leaving.term();
    assert!(leaving.wait_exit(PATIENCE).await.success());
    fault.over_for(&ids);
    site.nothing_burned(&ids).await;
    let marks = site.marks();
    for id in &ids {
        assert_eq!((marks[id].starts, marks[id].ends), (2, 1), "{id}");
    }
    site.hand_in(fault, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_counts_nothing() {
    let fault = fault!("A rolling restart of all workers under load");
    let site = Site::start().await;
    let mut workers = [site.worker().await, site.worker().await];
    let mut ids = Vec::new();
    for turn in 0..4 {
        ids.extend(site.submit_sleeps(40, 150).await);
        let next = site.worker().await;
        let mut old = std::mem::replace(&mut workers[turn % 2], next);
        old.term();
        ids.extend(site.submit_sleeps(20, 150).await);
        assert!(old.wait_exit(PATIENCE).await.success());
    }
    site.nothing_burned(&ids).await;
    let marks = site.marks();
    for id in &ids {
        assert_eq!((marks[id].starts, marks[id].ends), (1, 1), "{id}");
    }
    site.hand_in(fault, &ids).await;
}
