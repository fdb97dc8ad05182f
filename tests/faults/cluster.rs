//! RabbitMQ as a cluster of three nodes, each of which holds every queue: while most of them are
//! there, work goes on; always, jobs are accepted.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::ran_once;
use crate::site::Site;
use crate::support::program::Program;
use crate::support::rabbit::Rabbit;
use crate::support::record::{Fault, fault};
use crate::support::wait::{PATIENCE, until};

const QUEUE: &str = "longshore.probe";

/// A site whose processes know all nodes. The first one is the site's own.
struct Cluster {
    site: Site,
    peers: [Rabbit; 2],
    workers: [Program; 2],
    /// The node that led the queue before anything happened to it.
    leader: usize,
    load: Load,
    /// Submitted besides the load.
    others: Vec<String>,
}

impl Cluster {
    /// With jobs at work and others coming in.
    async fn under_load() -> Self {
        let [first, second, third] = Rabbit::cluster().await;
        let urls = [first.url(), second.url(), third.url()].join(",");
        let mut site = Site::with_broker(first).await;
        site.reach_brokers_at(urls);
        site.intake.take().unwrap().kill9();
        site.start_intake().await;
        let workers = [site.worker().await, site.worker().await];
        let listed = site
            .rabbit
            .ctl(&["list_queues", "name", "leader", "members"]);
        let listed = listed.await;
        let nodes = [&site.rabbit, &second, &third];
        let leads = |node: &&Rabbit| listed.contains(&format!("{QUEUE}\t{}\t", node.name()));
        let leader = nodes.iter().position(leads).expect(&listed);
        // A queue in one place only would prove nothing: its leader, and three members.
        let of_three = |line: &str| line.matches('@').count() == 4;
        assert!(listed.lines().all(of_three), "{listed}");
        let others = site.submit_sleeps(6, 8_000).await;
        site.started(6).await;
        Self {
            load: Load::on(&site),
            site,
            peers: [second, third],
            workers,
            leader,
            others,
        }
    }

    fn node(&mut self, index: usize) -> &mut Rabbit {
        match index {
            0 => &mut self.site.rabbit,
            _ => &mut self.peers[index - 1],
        }
    }

    fn nodes(&self) -> [&Rabbit; 3] {
        [&self.site.rabbit, &self.peers[0], &self.peers[1]]
    }

    /// Jobs that come in from now on run, and both workers take part: their consumers are
    /// back. (The broker's own count of consumers includes those that it suspects.)
    async fn works_on(&mut self) {
        let pids = self.workers.each_ref().map(Program::pid);
        until("both workers run new jobs", PATIENCE, async || {
            let ids = self.site.submit_sleeps(10, 200).await;
            self.site.all(&ids, "succeeded").await;
            let marks = self.site.marks();
            let ran = |pid| ids.iter().any(|id| marks[id].pids.contains(pid));
            let both = pids.iter().all(ran);
            self.others.extend(ids);
            both.then_some(())
        })
        .await;
    }

    /// All that was accepted ran, once.
    async fn hand_in(self, fault: Fault) {
        let mut ids = self.load.stop().await;
        assert!(ids.len() >= 50, "that was no load: {}", ids.len());
        ids.extend(self.others);
        self.site.rests_within(PATIENCE).await;
        self.site.hand_in(fault, &ids).await;
        ran_once(&self.site, &ids);
    }
}

/// Somebody who submits all along, and is never refused.
struct Load {
    stop: CancellationToken,
    submitted: JoinHandle<Vec<String>>,
}

impl Load {
    fn on(site: &Site) -> Self {
        let stop = CancellationToken::new();
        let (api, stopped) = (site.api.clone(), stop.clone());
        let submitted = tokio::spawn(async move {
            let job = json!({"kind": "probe.sleep", "payload": {"ms": 40}});
            let mut ids = Vec::new();
            while !stopped.is_cancelled() {
                let accepted = api.post("/v1/jobs", &job).await.expect(202);
                ids.push(accepted["id"].as_str().unwrap().to_owned());
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
            ids
        });
        Self { stop, submitted }
    }

    async fn stop(self) -> Vec<String> {
        self.stop.cancel();
        self.submitted.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_done_without() {
    let mut fault = fault!("The node of a RabbitMQ cluster that leads the queue is killed");
    let mut cluster = Cluster::under_load().await;
    let leader = cluster.leader;
    cluster.node(leader).kill();
    fault.over();
    cluster.works_on().await;
    fault.recovered();
    cluster.node(leader).restart().await;
    cluster.works_on().await;
    cluster.hand_in(fault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_is_done_without_and_repeats_nothing_when_it_wakes() {
    let mut fault =
        fault!("The node of a RabbitMQ cluster that leads the queue is frozen, and wakes");
    let mut cluster = Cluster::under_load().await;
    let leader = cluster.leader;
    cluster.node(leader).freeze();
    fault.over();
    // Connections that fall silent are given up after two heartbeats.
    cluster.works_on().await;
    fault.recovered();
    cluster.node(leader).thaw();
    cluster.works_on().await;
    cluster.hand_in(fault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_the_nodes_repeats_nothing() {
    let mut fault = fault!("A rolling restart of all nodes of a RabbitMQ cluster");
    let mut cluster = Cluster::under_load().await;
    for node in 0..3 {
        cluster.node(node).restart().await;
        // As an operator waits between two of them.
        until("all nodes hold the queues again", PATIENCE, async || {
            let listed = cluster.nodes()[node].ctl(&["list_queues", "name", "online"]);
            let listed = listed.await;
            let online = |line: &str| line.matches('@').count() == 3;
            listed.lines().all(online).then_some(())
        })
        .await;
    }
    fault.over();
    cluster.works_on().await;
    fault.recovered();
    cluster.hand_in(fault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_jobs_are_accepted_and_run_once_it_is_back() {
    let mut fault =
        fault!("Two of the three nodes of a RabbitMQ cluster are killed, and start again");
    let mut cluster = Cluster::under_load().await;
    let leader = cluster.leader;
    let (second, survivor) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.node(leader).kill();
    cluster.node(second).kill();
    let during = cluster.site.submit_sleeps(50, 20).await;
    cluster.others.extend(during);
    doctor_names_the_dead(&cluster, &[leader, second], survivor).await;
    let [third, fourth] = &mut cluster.peers;
    let nodes = [&mut cluster.site.rabbit, third, fourth];
    let dead = nodes.into_iter().enumerate();
    let dead = dead.filter(|(index, _)| *index != survivor);
    join_all(dead.map(|(_, node)| node.restart())).await;
    fault.over();
    cluster.works_on().await;
    fault.recovered();
    cluster.hand_in(fault).await;
}

async fn doctor_names_the_dead(cluster: &Cluster, dead: &[usize], alive: usize) {
    let mut doctor = cluster.site.launch(&["doctor", "--json"]).start();
    doctor.wait_exit(PATIENCE).await;
    let said = doctor.stdout();
    eprintln!("{said}");
    let address =
        |node: usize| format!("127.0.0.1:{} does not answer", cluster.nodes()[node].port());
    for node in dead {
        assert!(said.contains(&address(*node)), "{said}");
    }
    assert!(!said.contains(&address(alive)), "{said}");
    assert!(said.contains("2 of 3 nodes are down"), "{said}");
}
