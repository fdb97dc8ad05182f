//! Submissions that go on while something is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::site::Site;
use crate::support::http::Api;

const CLIENTS: usize = 4;
/// Between an answer and the next submission of a client.
const PAUSE: Duration = Duration::from_millis(100);
/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(3);

/// Clients that submit short jobs, each under a key of its own, and send each again, at the next
/// intake if there are several, until it is accepted.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Accepted>>,
}

#[derive(Default)]
struct Accepted {
    /// Job by key.
    jobs: BTreeMap<String, String>,
    /// Answers that were not 202, or none.
    refusals: usize,
}

impl Load {
    pub fn start(intakes: &[&Api]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let intakes: Vec<Api> = intakes.iter().copied().cloned().collect();
        let clients = (0..CLIENTS)
            .map(|number| tokio::spawn(client(intakes.clone(), number, stop.clone())))
            .collect();
        Self { stop, clients }
    }

    /// The accepted jobs, and how often nobody accepted.
    pub async fn stop(self) -> (Vec<String>, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut ids, mut refusals) = (Vec::new(), 0);
        for client in self.clients {
            let accepted = client.await.unwrap();
            ids.extend(accepted.jobs.into_values());
            refusals += accepted.refusals;
        }
        eprintln!("{} accepted under load, {refusals} refusals", ids.len());
        (ids, refusals)
    }
}

async fn client(intakes: Vec<Api>, number: usize, stop: Arc<AtomicBool>) -> Accepted {
    let body = json!({"kind": "probe.sleep", "payload": {"ms": 20}});
    let mut accepted = Accepted::default();
    let (mut count, mut turn) = (0, number);
    while !stop.load(Ordering::Relaxed) {
        let key = format!("{}-{count}", uuid::Uuid::now_v7());
        count += 1;
        loop {
            let headers = [("idempotency-key", key.as_str())];
            let api = &intakes[turn % intakes.len()];
            let answer = api.try_call(Method::POST, "/v1/jobs", Some(&body), &headers);
            if let Ok(Ok(answer)) = tokio::time::timeout(ANSWER, answer).await {
                if answer.status.as_u16() == 202 {
                    let id = answer.body["id"].as_str().unwrap().to_owned();
                    accepted.jobs.insert(key, id);
                    break;
                }
                answer.expect(503);
            }
            accepted.refusals += 1;
            turn += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
    accepted
}

/// These and no others were made: whoever was not told of a job has sent it again under its key.
pub async fn exactly(site: &Site, ids: &[String]) {
    let count = "SELECT count(*) FROM longshore.job";
    let jobs = site.postgres.psql_in("longshore", count).await;
    assert_eq!(jobs, ids.len().to_string(), "jobs that nobody was told of");
}
