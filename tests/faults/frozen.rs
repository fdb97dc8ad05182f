use std::time::Duration;

use crate::broker::ran_once;
use crate::load::{Load, at_rest, exactly};
use crate::site::Site;
use crate::support::http::Api;
use crate::support::program::free_port;
use crate::support::record::fault;
use crate::support::wait::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_intake_holds_nobody_up_and_accepts_nothing_twice() {
    let fault = fault!("An intake is frozen under load, for 4 s and for 14 s");
    let mut site = Site::start().await;
    let _workers = [site.worker().await, site.worker().await];
    let port = free_port();
    let _second = site
        .launch(&["intake"])
        .env("LONGSHORE_LISTEN", format!("127.0.0.1:{port}"))
        .start();
    site.ready(port).await;
    let second = Api::new(format!("http://127.0.0.1:{port}"));
    let both = [&site.api.clone(), &second];
    let mut ids = Vec::new();
    for seconds in [4, 14] {
        // In the middle of writes and answers; who waits goes to the other one, with the key.
        let load = Load::start(&both);
        tokio::time::sleep(Duration::from_secs(1)).await;
        site.intake.as_mut().unwrap().freeze();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let (accepted, refusals) = load.stop().await;
        assert!(refusals > 0, "nobody noticed");
        ids.extend(accepted);
        // What the frozen one has accepted and not sent is sent by others.
        at_rest(&site).await;
        site.intake.as_mut().unwrap().thaw();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let intake = site.intake.as_mut().unwrap();
    intake.wait_for_line("declared dead", PATIENCE).await;
    ids.extend(site.submit_sleeps(20, 10).await);
    exactly(&site, &ids).await;
    site.nothing_burned(&ids).await;
    ran_once(&site, &ids);
    site.hand_in(fault, &ids).await;
}
