//! Embedded, the process that a job takes down is the only one: whoever supervises it starts it
//! again, and it all ends as it does elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::marks::read_marks;
use crate::site::probe;
use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::program::{free_port, program};
use crate::support::record::{Figures, fault};
use crate::support::wait::{PATIENCE, until};

const QUEUES: &str = r#"
[queues.probe]
kinds = ["probe.sleep", "probe.poison"]
concurrency = 8
prefetch = 16
timeout = "6s"
[queues.probe.retry]
max_attempts = 2
initial = "300ms"
jitter = 0.0
"#;
/// Enough for everything but a glutton.
const MEMORY: &str = r#"ulimit -v 6000000; exec "$0" dev"#;

/// The process, as often as it is needed.
struct Supervised {
    dir: TestDir,
    port: u16,
    api: Api,
}

impl Supervised {
    fn new() -> Self {
        let (dir, port) = (TestDir::new("dev"), free_port());
        std::fs::write(dir.join("queues.toml"), QUEUES).unwrap();
        let api = Api::new(format!("http://127.0.0.1:{port}"));
        Self { dir, port, api }
    }

    /// Keeps it up until the work is done; how often it was started.
    async fn during<T>(&self, work: impl Future<Output = T>) -> (T, usize) {
        tokio::pin!(work);
        let mut starts = 0;
        loop {
            let program = probe();
            let mut dev = program_of(&["-c", MEMORY, program.to_str().unwrap()])
                .within(self.dir.path())
                .env("LONGSHORE_LISTEN", format!("127.0.0.1:{}", self.port))
                .env("LONGSHORE_LOG_FORMAT", "text")
                // Two blocked threads are all.
                .env("TOKIO_WORKER_THREADS", "2")
                .env("PROBE_MARKS", self.dir.join("marks"))
                .start();
            starts += 1;
            loop {
                tokio::select! {
                    done = &mut work => {
                        dev.term();
                        assert!(dev.wait_exit(PATIENCE).await.success());
                        return (done, starts);
                    }
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                }
                if !dev.is_running() {
                    break;
                }
            }
        }
    }

    /// An answer, whenever somebody is there to give one.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>, status: u16) -> Value {
        until(path, PATIENCE, async || {
            let answer = self.api.try_call(method.clone(), path, body, &[]).await;
            let answer = answer.ok()?;
            (answer.status.as_u16() == status).then_some(answer.body)
        })
        .await
    }

    async fn submit(&self, kind: &str, payload: &Value) -> String {
        let body = json!({"kind": kind, "payload": payload});
        let job = self.call(Method::POST, "/v1/jobs", Some(&body), 202).await;
        job["id"].as_str().unwrap().to_owned()
    }

    async fn all(&self, ids: &[String], state: &str) -> Vec<Value> {
        let mut jobs = Vec::new();
        for id in ids {
            let path = format!("/v1/jobs/{id}");
            let what = format!("{id} is {state}");
            let job = until(&what, PATIENCE * 2, async || {
                let answer = self.api.try_call(Method::GET, &path, None, &[]).await;
                let job = answer.ok()?.body;
                (job["state"] == state).then_some(job)
            })
            .await;
            jobs.push(job);
        }
        jobs
    }
}

fn program_of(arguments: &[&str]) -> crate::support::program::Launch {
    program("sh", arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_what_takes_the_process_down_dies_alone_and_its_neighbours_lose_nothing() {
    let fault = fault!("Jobs that take the embedded process down, or eat its memory or threads");
    let dev = Supervised::new();
    let dooms = [
        ("abort", "crashed", 1),
        ("exit", "crashed", 1),
        ("eat_memory", "crashed", 1),
        ("block_its_thread", "timeout", 2),
        ("block_its_thread", "timeout", 2),
    ];
    let work = async {
        let (mut doomed, mut neighbours) = (Vec::new(), Vec::new());
        let pause = "/v1/queues/probe/pause";
        dev.call(Method::POST, pause, Some(&json!(null)), 200).await;
        for n in 0..40 {
            let ms = json!({"ms": 300});
            neighbours.push(dev.submit("probe.sleep", &ms).await);
            if let Some((doom, ..)) = dooms.get(n / 6).filter(|_| n % 6 == 5) {
                let doom = json!({"doom": doom});
                doomed.push(dev.submit("probe.poison", &doom).await);
            }
        }
        let resume = "/v1/queues/probe/resume";
        dev.call(Method::POST, resume, Some(&json!(null)), 200)
            .await;
        let dead = dev.all(&doomed, "dead").await;
        (dead, dev.all(&neighbours, "succeeded").await)
    };
    let ((dead, neighbours), starts) = dev.during(work).await;
    eprintln!("{starts} starts");
    assert!(starts > 2, "nothing took the process down");
    for (job, (doom, code, attempts)) in dead.iter().zip(dooms) {
        assert_eq!(job["payload"]["doom"], doom);
        assert_eq!(job["error"]["code"], code, "{job}");
        assert_eq!(job["attempts"].as_array().unwrap().len(), attempts, "{job}");
    }
    let marks = read_marks(&dev.dir.join("marks"));
    let jobs: BTreeSet<&str> = neighbours
        .iter()
        .map(|job| job["id"].as_str().unwrap())
        .collect();
    let (mut runs, mut ended) = (BTreeMap::new(), BTreeSet::new());
    let (mut twice, mut unknown) = (0, 0);
    for mark in marks.iter().filter(|mark| jobs.contains(mark.job.as_str())) {
        if mark.is_start {
            // In another process: the one before was taken down in the middle of it.
            twice += usize::from(runs.insert(&mark.job, mark.pid) == Some(mark.pid));
        } else {
            unknown += usize::from(!ended.insert(&mark.job));
        }
    }
    let attempts = |job: &Value| job["attempts"].as_array().unwrap().len();
    let burned = neighbours.iter().map(|job| attempts(job) - 1).sum();
    let mut verify = program(probe(), ["verify"]).within(dev.dir.path()).start();
    let status = verify.wait_exit(PATIENCE).await;
    assert!(status.success(), "{}", verify.output_so_far());
    fault.hand_in(Figures {
        accepted: dead.len() + neighbours.len(),
        lost: jobs.len() - ended.len(),
        twice,
        unknown,
        burned,
    });
}
