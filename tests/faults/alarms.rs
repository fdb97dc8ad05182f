use std::time::Duration;

use crate::broker::ran_once;
use crate::site::Site;
use crate::support::record::{Fault, fault};
use crate::support::wait::{PATIENCE, until};

/// While the broker takes nothing, jobs are accepted, and what it has already is worked off:
/// acknowledgements travel on another connection than publishes.
async fn an_alarm_holds_up_nothing_but_publishes(mut fault: Fault, raise: &[&str], clear: &[&str]) {
    let site = Site::start().await;
    let mut ids = site.submit_sleeps(60, 100).await;
    until("the broker has them", PATIENCE, async || {
        // More on a slow machine: what is confirmed late is published twice.
        (site.depth("longshore.probe").await?.0 >= 60).then_some(())
    })
    .await;
    site.rabbit.ctl(raise).await;
    until("the alarm is raised", PATIENCE, async || {
        let alarms = site
            .rabbit
            .ctl(&["eval", "rabbit_alarm:get_alarms()."])
            .await;
        alarms.contains("resource_limit").then_some(())
    })
    .await;
    let late = site.submit_sleeps(40, 50).await;
    let _worker = site.worker().await;
    site.all(&ids, "succeeded").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let marks = site.marks();
    let ran = late.iter().filter(|id| marks.contains_key(*id)).count();
    // It reads on until the first publish of each connection.
    assert!(
        ran < late.len(),
        "the broker took everything during its alarm"
    );
    site.rabbit.ctl(clear).await;
    fault.over();
    ids.extend(late);
    site.nothing_burned(&ids).await;
    ran_once(&site, &ids);
    site.hand_in(fault, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_alarm_holds_up_nothing_but_publishes() {
    let fault = fault!("RabbitMQ raises a memory alarm and blocks publishers");
    let set = "set_vm_memory_high_watermark";
    an_alarm_holds_up_nothing_but_publishes(fault, &[set, "0"], &[set, "0.6"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_alarm_holds_up_nothing_but_publishes() {
    let fault = fault!("RabbitMQ raises a disk alarm and blocks publishers");
    let set = "set_disk_free_limit";
    an_alarm_holds_up_nothing_but_publishes(fault, &[set, "900000GB"], &[set, "50MB"]).await;
}
