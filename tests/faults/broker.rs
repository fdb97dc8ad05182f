use std::time::Duration;

use crate::site::Site;
use crate::support::record::fault;
use crate::support::wait::{PATIENCE, until};

/// Each of these ran exactly once.
pub fn ran_once(site: &Site, ids: &[String]) {
    let marks = site.marks();
    for id in ids {
        assert_eq!((marks[id].starts, marks[id].ends), (1, 1), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_broker_down_jobs_are_accepted_and_run_once_it_is_back() {
    let mut fault = fault!("RabbitMQ is stopped for seconds, and jobs are accepted meanwhile");
    let mut site = Site::start().await;
    let _workers = [site.worker().await, site.worker().await];
    let before = site.submit_sleeps(20, 20).await;
    site.nothing_burned(&before).await;
    site.rabbit.stop().await;
    let during = site.submit_sleeps(50, 20).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    site.rabbit.restart().await;
    fault.over();
    site.consumed_by(2).await;
    fault.recovered();
    site.nothing_burned(&during).await;
    ran_once(&site, &during);
    site.hand_in(fault, &[before, during].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_restart_re_runs_nothing_that_is_alive() {
    let mut fault = fault!("RabbitMQ is killed while jobs run, and starts again");
    let mut site = Site::start().await;
    let _workers = [site.worker().await, site.worker().await];
    let ids = site.submit_sleeps(12, 8_000).await;
    site.started(12).await;
    site.rabbit.kill();
    site.rabbit.restart().await;
    fault.over();
    site.consumed_by(2).await;
    fault.recovered();
    site.nothing_burned(&ids).await;
    ran_once(&site, &ids);
    until("nothing is left on the broker", PATIENCE, async || {
        (site.depth("longshore.probe").await? == (0, 0)).then_some(())
    })
    .await;
    site.hand_in(fault, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_broker_loses_nothing() {
    let mut fault = fault!("RabbitMQ is killed, and all its data is wiped");
    let mut site = Site::start().await;
    let _worker = site.worker().await;
    let ids = site.submit_sleeps(200, 200).await;
    site.rabbit.kill();
    site.rabbit.wipe();
    site.rabbit.restart().await;
    fault.over();
    site.consumed_by(1).await;
    fault.recovered();
    site.nothing_burned(&ids).await;
    ran_once(&site, &ids);
    site.hand_in(fault, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_comes_back_full() {
    let mut fault = fault!("A queue is deleted under load");
    let site = Site::start().await;
    let _worker = site.worker().await;
    let ids = site.submit_sleeps(150, 100).await;
    site.rabbit.ctl(&["delete_queue", "longshore.probe"]).await;
    fault.over();
    site.consumed_by(1).await;
    fault.recovered();
    site.nothing_burned(&ids).await;
    ran_once(&site, &ids);
    site.hand_in(fault, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_queue_loses_nothing() {
    let mut fault = fault!("A queue is purged under load");
    // Grace is the timeout and 10 s.
    let site = Site::with_queues(
        "[queues.probe]\nkinds = [\"probe.sleep\"]\nconcurrency = 2\nprefetch = 2\ntimeout = \"3s\"\n",
    )
    .await;
    let _worker = site.worker().await;
    let ids = site.submit_sleeps(60, 100).await;
    site.rabbit.ctl(&["purge_queue", "longshore.probe"]).await;
    let begun = site.starts();
    let purged: Vec<String> = ids
        .iter()
        .filter(|id| !begun.contains(id))
        .cloned()
        .collect();
    fault.over();
    // Some of the others were in the worker's hands.
    let lost = &purged[purged.len() / 2..];
    until("what was purged runs", PATIENCE, async || {
        let starts = site.starts();
        lost.iter().any(|id| starts.contains(id)).then_some(())
    })
    .await;
    fault.recovered();
    site.nothing_burned(&ids).await;
    ran_once(&site, &ids);
    site.hand_in(fault, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_named_and_nothing_starts() {
    let mut site = Site::start().await;
    drop(site.worker().await);
    // Nobody is left who would declare it again before this test does.
    site.intake.as_mut().unwrap().kill9();
    site.rabbit.ctl(&["delete_queue", "longshore.probe"]).await;
    let admin =
        lapin::Connection::connect(&site.rabbit.url(), lapin::ConnectionProperties::default())
            .await
            .unwrap();
    let channel = admin.create_channel().await.unwrap();
    let durable = lapin::options::QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare("longshore.probe".into(), durable, Default::default())
        .await
        .unwrap();
    let mut worker = site.launch(&["work", "probe"]).start();
    let status = worker.wait_exit(PATIENCE).await;
    assert_eq!(status.code(), Some(2), "{}", worker.output_so_far());
    let said = worker.stderr();
    assert!(
        said.contains("longshore.probe") && said.contains("quorum"),
        "{said}"
    );
    let mut topology = site.launch(&["topology", "--json"]).start();
    assert_eq!(topology.wait_exit(PATIENCE).await.code(), Some(1));
    assert!(
        topology.stdout().contains("\"different\""),
        "{}",
        topology.stdout()
    );
}
