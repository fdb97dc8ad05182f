//! What a fault cost, counted at rest: the marks say what ran, the store what it made of it, and
//! `verify` that neither misses anything.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::{Connection, ConnectionProperties};

use crate::marks::Mark;
use crate::site::Site;
use crate::support::record::{Fault, Figures};
use crate::support::wait::{PATIENCE, until};

impl Site {
    /// Hands in what the fault cost these jobs, which are all that there were.
    pub async fn hand_in(&self, fault: Fault, ids: &[String]) {
        self.hand_in_besides(fault, ids, 0).await;
    }

    /// The same where so many others were accepted that end dead or cancelled, as they should:
    /// the test itself has looked at them.
    pub async fn hand_in_besides(&self, mut fault: Fault, ids: &[String], others: usize) {
        let verified = self.balanced().await;
        let tally = |name: &str| usize::try_from(verified["jobs"][name].as_u64().unwrap()).unwrap();
        assert_eq!(tally("live"), 0, "not at rest: {verified}");
        let jobs: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(jobs.len(), ids.len(), "the same job twice");
        let accepted = ids.len() + others;
        assert_eq!(tally("accepted"), accepted, "answered and counted");

        let history = self.history();
        let starts = history.iter().filter(|mark| mark.is_start);
        fault.started(starts.map(|mark| (mark.job.as_str(), mark.pid, mark.at)));
        let (ended, twice, unknown) = effects(&fault, &jobs, &history);
        let succeeded = self.rows("SELECT id, 1 FROM longshore.done WHERE state = 4");
        let failed = self.rows("SELECT id, count(*) FROM longshore.attempt GROUP BY id");
        let (succeeded, failed) = tokio::join!(succeeded, failed);
        let there = |id: &&&String| ended.contains(**id) && succeeded.contains_key(**id);
        let missing = verified["missing"].as_i64().unwrap().unsigned_abs();
        let burned = jobs.iter().filter_map(|id| failed.get(*id)).sum();
        fault.hand_in(Figures {
            accepted,
            lost: jobs.len() - jobs.iter().filter(there).count() + missing as usize,
            twice,
            unknown,
            burned,
        });
    }

    /// Waits until no job is live.
    pub async fn rests_within(&self, patience: Duration) {
        until("every job has ended", patience, async || {
            let live = "SELECT count(*) FROM longshore.live";
            let live = self.postgres.psql_in("longshore", live).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            (live == "0").then_some(())
        })
        .await;
    }

    /// A number for each job.
    async fn rows(&self, sql: &str) -> BTreeMap<String, usize> {
        let rows = self.postgres.psql_in("longshore", sql).await;
        let row = |line: &str| {
            let (id, number) = line.split_once('|').unwrap();
            (id.to_owned(), number.parse().unwrap())
        };
        rows.lines().map(row).collect()
    }

    /// Waits until the broker has so many consumers of the probe's queue: all the workers are back.
    pub async fn consumed_by(&self, workers: u32) {
        let properties = ConnectionProperties::default();
        let url = self.rabbit.url();
        let connection = until("the broker lets us in", PATIENCE, async || {
            Connection::connect(&url, properties.clone()).await.ok()
        })
        .await;
        until("all consumers are back", PATIENCE, async || {
            // A queue that is not there yet closes the channel.
            let channel = connection.create_channel().await.unwrap();
            let passive = QueueDeclareOptions {
                passive: true,
                ..Default::default()
            };
            let queue =
                channel.queue_declare("longshore.probe".into(), passive, Default::default());
            let consumers = queue.await.ok()?.consumer_count();
            let _ = channel.close(200, "OK".into()).await;
            (consumers == workers).then_some(())
        })
        .await;
        let _ = connection.close(200, "OK".into()).await;
    }
}

/// The jobs that have ended, how many runs began again after one that nobody had cut off, and how
/// many effects came again.
fn effects<'a>(
    fault: &Fault,
    jobs: &BTreeSet<&String>,
    history: &'a [Mark],
) -> (BTreeSet<&'a String>, usize, usize) {
    let (mut last_run, mut ended) = (BTreeMap::new(), BTreeSet::new());
    let (mut twice, mut unknown) = (0, 0);
    for mark in history.iter().filter(|mark| jobs.contains(&mark.job)) {
        if mark.is_start {
            let before = last_run.insert(&mark.job, mark.pid);
            twice += usize::from(before.is_some_and(|pid| !fault.was_cut_off(pid)));
        } else {
            unknown += usize::from(!ended.insert(&mark.job));
        }
    }
    (ended, twice, unknown)
}
