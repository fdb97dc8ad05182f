//! Channels, connections, rights and the vhost are taken away by a broker that is up and well.

use std::time::Duration;

use crate::broker::ran_once;
use crate::load::{Load, exactly};
use crate::site::Site;
use crate::support::program::free_port;
use crate::support::record::{Fault, fault};
use crate::support::wait::{PATIENCE, until};

/// With what it was before, once the broker is itself again.
async fn all_ran_once(site: &Site, load: Load, mut ids: Vec<String>, fault: Fault) {
    // Some more, all of them on new connections.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (accepted, refusals) = load.stop().await;
    assert_eq!(refusals, 0, "the broker's trouble is none of the intake's");
    ids.extend(accepted);
    exactly(site, &ids).await;
    site.nothing_burned(&ids).await;
    ran_once(site, &ids);
    nothing_left(site).await;
    site.hand_in(fault, &ids).await;
}

async fn nothing_left(site: &Site) {
    for queue in ["longshore.probe", "longshore.probe.high"] {
        until(&format!("{queue} is empty"), PATIENCE, async || {
            (site.depth(queue).await? == (0, 0)).then_some(())
        })
        .await;
    }
}

async fn close_all(site: &Site) {
    let close = ["close_all_connections", "--global", "as the test wants it"];
    site.rabbit.ctl(&close).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_closes_again_and_again_re_runs_nothing() {
    let mut fault = fault!("RabbitMQ closes every connection and kills every channel, three times");
    let site = Site::start().await;
    let mut workers = [site.worker().await, site.worker().await];
    let ids = site.submit_sleeps(12, 20_000).await;
    site.started(12).await;
    let load = Load::start(&[&site.api]);
    for _ in 0..3 {
        close_all(&site).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        // The channel's process dies: an internal error, as the connection sees it.
        let crash = "[exit(Channel, kill) || Channel <- rabbit_channel:list()].";
        site.rabbit.ctl(&["eval", crash]).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    fault.over();
    site.consumed_by(2).await;
    fault.recovered();
    for worker in &mut workers {
        worker.wait_for_line("CONNECTION_FORCED", PATIENCE).await;
        worker.wait_for_line("INTERNAL_ERROR", PATIENCE).await;
    }
    all_ran_once(&site, load, ids, fault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_closed_over_a_slow_job_re_runs_nothing() {
    let fault = fault!("RabbitMQ closes the channels of workers whose jobs outlast its patience");
    let site = Site::start().await;
    let impatient = "application:set_env(rabbit, consumer_timeout, 3000),
                     application:set_env(rabbit, channel_tick_interval, 500).";
    site.rabbit.ctl(&["eval", impatient]).await;
    let mut workers = [site.worker().await, site.worker().await];
    let ids = site.submit_sleeps(16, 12_000).await;
    site.started(16).await;
    let load = Load::start(&[&site.api]);
    for worker in &mut workers {
        let closed = "delivery acknowledgement on channel";
        worker.wait_for_line(closed, PATIENCE).await;
    }
    all_ran_once(&site, load, ids, fault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_rights_are_gone_for_a_while_loses_and_repeats_nothing() {
    let mut fault = fault!("The user of RabbitMQ loses every right, and gets them back");
    let site = Site::start().await;
    let mut workers = [site.worker().await, site.worker().await];
    let ids = site.submit_sleeps(12, 12_000).await;
    site.started(12).await;
    let load = Load::start(&[&site.api]);
    site.rabbit.ctl(&["clear_permissions", "guest"]).await;
    close_all(&site).await;
    for worker in &mut workers {
        worker.wait_for_line("not consuming", PATIENCE).await;
    }
    // Who starts meanwhile waits, too.
    let port = free_port();
    let mut late = site
        .launch(&["work", "probe"])
        .env("LONGSHORE_HEALTH_LISTEN", format!("127.0.0.1:{port}"))
        .start();
    late.wait_for_line("waiting for the broker", PATIENCE).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(late.is_running(), "{}", late.output_so_far());
    let all = ["set_permissions", "guest", ".*", ".*", ".*"];
    site.rabbit.ctl(&all).await;
    fault.over();
    site.consumed_by(3).await;
    fault.recovered();
    site.ready(port).await;
    all_ran_once(&site, load, ids, fault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vhost_that_is_deleted_and_made_anew_loses_and_repeats_nothing() {
    let mut fault = fault!("RabbitMQ's vhost is deleted under load, and made anew");
    let site = Site::start().await;
    let mut workers = [site.worker().await, site.worker().await];
    let mut ids = site.submit_sleeps(16, 10_000).await;
    site.started(16).await;
    // These wait on the broker, and go with it.
    ids.extend(site.submit_sleeps(60, 50).await);
    let load = Load::start(&[&site.api]);
    site.rabbit.ctl(&["delete_vhost", "/"]).await;
    for worker in &mut workers {
        worker.wait_for_line("not consuming", PATIENCE).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    site.rabbit.ctl(&["add_vhost", "/"]).await;
    // For a moment it is there, and nobody may do anything in it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let all = ["set_permissions", "guest", ".*", ".*", ".*"];
    site.rabbit.ctl(&all).await;
    fault.over();
    site.consumed_by(2).await;
    fault.recovered();
    all_ran_once(&site, load, ids, fault).await;
}
