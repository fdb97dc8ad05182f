use std::time::Duration;

use crate::broker::ran_once;
use crate::proxy::{Proxy, Weather};
use crate::site::Site;
use crate::support::record::fault;

/// Every process reaches the broker through the proxy.
async fn behind_a_proxy() -> (Site, Proxy) {
    let mut site = Site::start().await;
    let proxy = Proxy::to(site.rabbit.port()).await;
    site.reach_the_broker_at(proxy.port());
    site.intake.take().unwrap().kill9();
    site.start_intake().await;
    (site, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_falls_silent_re_runs_nothing() {
    let mut fault = fault!("The network to RabbitMQ falls silent for 25 s");
    let (site, proxy) = behind_a_proxy().await;
    let _workers = [site.worker().await, site.worker().await];
    let mut ids = site.submit_sleeps(12, 9_000).await;
    site.started(12).await;
    // Longer than the AMQP heartbeat: both ends give the connections up.
    proxy.turns(Weather::Silent);
    ids.extend(site.submit_sleeps(40, 50).await);
    tokio::time::sleep(Duration::from_secs(25)).await;
    proxy.turns(Weather::Fair);
    fault.over();
    ids.extend(site.submit_sleeps(1, 1).await);
    site.nothing_burned(&ids).await;
    ran_once(&site, &ids);
    site.hand_in(fault, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_cut_again_and_again_loses_and_repeats_nothing() {
    let mut fault = fault!("The network to RabbitMQ is cut six times and slow between");
    let (site, proxy) = behind_a_proxy().await;
    let _workers = [site.worker().await, site.worker().await];
    let mut ids = Vec::new();
    for pause in [100, 900, 300, 1_700, 50, 600] {
        ids.extend(site.submit_sleeps(20, 40).await);
        proxy.turns(Weather::Cut);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        proxy.turns(Weather::Slow(Duration::from_millis(30)));
        ids.extend(site.submit_sleeps(10, 40).await);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    proxy.turns(Weather::Fair);
    fault.over();
    ids.extend(site.submit_sleeps(1, 1).await);
    site.nothing_burned(&ids).await;
    ran_once(&site, &ids);
    site.hand_in(fault, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_closed_on_one_side_come_back() {
    let mut fault = fault!("Connections to RabbitMQ are closed on one side");
    let (site, proxy) = behind_a_proxy().await;
    let _workers = [site.worker().await, site.worker().await];
    let mut ids = site.submit_sleeps(60, 200).await;
    proxy.turns(Weather::HalfClosed);
    ids.extend(site.submit_sleeps(20, 50).await);
    tokio::time::sleep(Duration::from_secs(3)).await;
    proxy.turns(Weather::Fair);
    fault.over();
    ids.extend(site.submit_sleeps(20, 50).await);
    site.nothing_burned(&ids).await;
    ran_once(&site, &ids);
    site.hand_in(fault, &ids).await;
}
