//! PostgreSQL ends or refuses the connections of processes at work.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::broker::ran_once;
use crate::load::{Load, at_rest, exactly};
use crate::site::Site;
use crate::support::record::fault;
use crate::support::wait::{PATIENCE, until};

const THEIRS: &str = "datname = 'longshore' AND backend_type = 'client backend'";

#[tokio::test(flavor = "multi_thread")]
async fn backends_that_are_ended_or_crash_lose_and_repeat_nothing() {
    let mut fault = fault!("Backends of PostgreSQL are ended, or crash, under load");
    let mut site = Site::start().await;
    let _workers = [site.worker().await, site.worker().await];
    let mut ids = site.submit_sleeps(12, 15_000).await;
    site.started(12).await;
    let load = Load::start(&[&site.api]);
    for _ in 0..3 {
        let all =
            format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {THEIRS}");
        until("somebody is thrown out", PATIENCE, async || {
            (site.postgres.psql_when_up(&all).await != "0").then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        // As by the kernel, for want of memory: the server throws everybody out and recovers.
        // One that writes, if there is one.
        let one = format!(
            "SELECT pid FROM pg_stat_activity WHERE {THEIRS}
             ORDER BY backend_xid IS NULL, random() LIMIT 1"
        );
        let victim = site.postgres.psql_when_up(&one).await.parse().unwrap();
        kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    site.postgres.restart_immediately().await;
    fault.over();
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Perhaps without a single refusal: a call that was cut off is tried again within its time.
    ids.extend(load.stop().await.0);
    exactly(&site, &ids).await;
    site.nothing_burned(&ids).await;
    ran_once(&site, &ids);
    site.hand_in(fault, &ids).await;
}

/// How many connections the processes may have at once, from now on.
async fn room_for(site: &Site, connections: i32) {
    let sql = format!(
        "ALTER ROLE app CONNECTION LIMIT {connections};
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'"
    );
    site.postgres.psql(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_without_connections_lose_and_repeat_nothing() {
    let mut fault = fault!("PostgreSQL has no connection left for anybody, for 14 s");
    let site = Site::as_role("app").await;
    let _workers = [site.worker().await, site.worker().await];
    let mut ids = site.submit_sleeps(12, 6_000).await;
    site.started(12).await;
    let load = Load::start(&[&site.api]);
    // Longer than a silence that means death, where others are heard.
    room_for(&site, 0).await;
    tokio::time::sleep(Duration::from_secs(14)).await;
    room_for(&site, -1).await;
    fault.over();
    tokio::time::sleep(Duration::from_secs(2)).await;
    ids.extend(load.stop().await.0);
    exactly(&site, &ids).await;
    site.nothing_burned(&ids).await;
    ran_once(&site, &ids);
    site.hand_in(fault, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_connections_are_scarce_jobs_wait_and_none_loses_an_attempt() {
    let mut fault = fault!("PostgreSQL has connections for a few only, for 24 s");
    let site = Site::as_role("app").await;
    let workers = [site.worker().await, site.worker().await];
    // From the database, without which nobody knows that they are alive.
    workers.iter().for_each(|worker| fault.cuts_off(worker));
    let load = Load::start(&[&site.api]);
    // Some get in and some do not: whose beats stay out may be taken for dead.
    for connections in [6, 3] {
        room_for(&site, connections).await;
        tokio::time::sleep(Duration::from_secs(12)).await;
    }
    room_for(&site, -1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ids = load.stop().await.0;
    at_rest(&site).await;
    exactly(&site, &ids).await;
    site.nothing_burned(&ids).await;
    let marks = site.marks();
    for id in &ids {
        assert!(marks[id].ends >= 1, "{id} succeeded without an end");
    }
    site.hand_in(fault, &ids).await;
}
