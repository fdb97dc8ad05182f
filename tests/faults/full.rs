//! Embedded, with no room left for the database: what is sent is refused and says why, what was
//! accepted is there, and all of it runs once there is room.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::marks::{Mark, read_marks};
use crate::site::probe;
use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::program::{Launch, Program, free_port, program};
use crate::support::record::{Fault, Figures, fault};
use crate::support::wait::{PATIENCE, until};

const QUEUES: &str = r#"
[queues.probe]
kinds = ["probe.sleep"]
concurrency = 4
prefetch = 8
timeout = "60s"
"#;

/// A small disk of its own, in namespaces of its own: no rights are needed. It is filled and
/// emptied when the test says so, by files that it leaves outside.
const SMALL_DISK: &str = r#"
mount -t tmpfs -o size=12m tmpfs disk || exit 3
(
    until [ -e fill ]; do sleep 0.1; done
    cat /dev/zero >disk/filler 2>/dev/null
    touch full
    until [ -e room ]; do sleep 0.1; done
    rm disk/filler
) &
exec "$0" dev
"#;

/// Files may not grow beyond a limit that the test sets while it runs; whoever tries is told,
/// and not killed by the signal.
const SMALL_FILES: &str = r#"trap '' XFSZ; exec "$0" dev"#;

struct Dev {
    api: Api,
    process: Program,
    dir: TestDir,
}

impl Dev {
    async fn start(by: &str, arguments: &[&str]) -> Self {
        let dir = TestDir::new("full");
        std::fs::create_dir(dir.join("disk")).unwrap();
        std::fs::write(dir.join("queues.toml"), QUEUES).unwrap();
        let (process, api) = launch(&dir, by, arguments).await;
        ready(&api).await;
        Self { api, process, dir }
    }

    async fn submit(&self, payload: &Value) -> Result<String, Value> {
        let body = json!({"kind": "probe.sleep", "payload": payload, "tags": [filling()]});
        let answer = self.api.post("/v1/jobs", &body).await;
        if answer.status.as_u16() == 202 {
            return Ok(answer.body["id"].as_str().unwrap().to_owned());
        }
        assert_eq!(answer.header("retry-after"), "1", "{}", answer.body);
        Err(answer.expect(503))
    }

    /// Until nothing more is accepted; what was, and the refusal.
    async fn submit_until_refused(&self, ids: &mut Vec<String>) -> Value {
        until("a submission is refused", PATIENCE, async || {
            match self.submit(&json!({"ms": 1})).await {
                Ok(id) => {
                    ids.push(id);
                    None
                }
                Err(problem) => Some(problem),
            }
        })
        .await
    }

    fn marks(&self) -> Vec<Mark> {
        read_marks(&self.dir.join("marks"))
    }

    fn ended(&self) -> BTreeSet<String> {
        let marks = self.marks().into_iter().filter(|mark| !mark.is_start);
        marks.map(|mark| mark.job).collect()
    }

    /// All of these and no others have run, once, with no attempt lost.
    async fn all_ran_once(&self, ids: &[String], mut fault: Fault) {
        let mut burned = 0;
        for id in ids {
            let job = until(&format!("{id} has succeeded"), PATIENCE, async || {
                let path = format!("/v1/jobs/{id}");
                let answer = self.api.get(&path).await;
                (answer.body["state"] == "succeeded").then_some(answer.body)
            })
            .await;
            burned += job["attempts"].as_array().unwrap().len() - 1;
        }
        let marks = self.marks();
        let starts = marks.iter().filter(|mark| mark.is_start);
        fault.started(
            starts
                .clone()
                .map(|mark| (mark.job.as_str(), mark.pid, mark.at)),
        );
        let ended = self.ended();
        let started: BTreeSet<&String> = starts.clone().map(|mark| &mark.job).collect();
        assert_eq!(started.len(), ids.len(), "jobs that nobody was told of");
        fault.hand_in(Figures {
            accepted: ids.len(),
            lost: ids.iter().filter(|id| !ended.contains(*id)).count(),
            twice: starts.count() - started.len(),
            unknown: marks.iter().filter(|mark| !mark.is_start).count() - ended.len(),
            burned,
        });
    }
}

/// Pads a row, so that the room is used up.
fn filling() -> String {
    "x".repeat(100)
}

async fn launch(dir: &TestDir, by: &str, arguments: &[&str]) -> (Program, Api) {
    let port = free_port();
    let launch: Launch = program(by, arguments)
        .within(dir.path())
        .env("LONGSHORE_LISTEN", format!("127.0.0.1:{port}"))
        .env("LONGSHORE_DATA_DIR", dir.join("disk"))
        .env("LONGSHORE_QUEUES", dir.join("queues.toml"))
        .env("LONGSHORE_LOG_FORMAT", "text")
        .env("PROBE_MARKS", dir.join("marks"));
    let api = Api::new(format!("http://127.0.0.1:{port}"));
    (launch.start(), api)
}

async fn ready(api: &Api) {
    until("dev is ready", PATIENCE, async || {
        let status = api.status("/readyz").await?;
        status.is_success().then_some(())
    })
    .await;
}

fn told_of_the_room(problem: &Value) {
    assert_eq!(problem["code"], "store_unavailable", "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("no room"), "{problem}");
}

/// Long jobs run, many wait, the room goes and comes back.
async fn through_a_shortage(
    dev: &mut Dev,
    mut fault: Fault,
    shut: impl AsyncFn(&Dev),
    open: impl AsyncFn(&Dev),
) {
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(dev.submit(&json!({"ms": 4_000})).await.unwrap());
    }
    for _ in 0..20 {
        ids.push(dev.submit(&json!({"ms": 50})).await.unwrap());
    }
    shut(dev).await;
    let problem = dev.submit_until_refused(&mut ids).await;
    told_of_the_room(&problem);
    until("what runs has come to its end", PATIENCE, async || {
        (dev.ended().len() >= 4).then_some(())
    })
    .await;
    // Longer than a process may be silent.
    tokio::time::sleep(Duration::from_secs(11)).await;
    told_of_the_room(&dev.submit(&json!({"ms": 1})).await.unwrap_err());
    // What was written can be read.
    dev.api
        .get(&format!("/v1/jobs/{}", ids[0]))
        .await
        .expect(200);
    open(dev).await;
    fault.over();
    ready(&dev.api).await;
    for _ in 0..20 {
        ids.push(
            until("it is accepted", PATIENCE, async || {
                dev.submit(&json!({"ms": 1})).await.ok()
            })
            .await,
        );
    }
    dev.all_ran_once(&ids, fault).await;
    assert!(dev.process.is_running());
    let said = dev.process.stderr();
    assert!(said.matches("WARN").count() < 40, "{said}");
    verified(dev).await;
}

async fn verified(dev: &mut Dev) {
    dev.process.term();
    assert!(dev.process.wait_exit(PATIENCE).await.success());
}

fn has_namespaces() -> bool {
    let arguments = ["--user", "--map-root-user", "--mount", "true"];
    let tried = Command::new("unshare").args(arguments).output();
    tried.is_ok_and(|output| output.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_by_name_and_loses_and_repeats_nothing() {
    let fault = fault!("The disk of SQLite is full, embedded, for 11 s and more");
    if !has_namespaces() {
        // A container without rights: there the limit on files must do for both.
        return through_a_limit(fault).await;
    }
    let program = probe();
    let program = program.to_str().unwrap();
    let namespaces = ["--user", "--map-root-user", "--mount"];
    let shell = ["sh", "-c", SMALL_DISK, program];
    let mut dev = Dev::start("unshare", &[&namespaces[..], &shell[..]].concat()).await;
    let asked = async |dev: &Dev, what: &str, answer: &str| {
        std::fs::write(dev.dir.join(what), "").unwrap();
        if !answer.is_empty() {
            until(answer, PATIENCE, async || {
                dev.dir.join(answer).exists().then_some(())
            })
            .await;
        }
    };
    let shut = async |dev: &Dev| asked(dev, "fill", "full").await;
    let open = async |dev: &Dev| asked(dev, "room", "").await;
    through_a_shortage(&mut dev, fault, shut, open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_grow_refuses_by_name_and_loses_and_repeats_nothing() {
    let fault = fault!("SQLite's files may not grow, embedded, for 11 s and more");
    through_a_limit(fault).await;
}

async fn through_a_limit(fault: Fault) {
    let program = probe();
    let program = program.to_str().unwrap();
    let mut dev = Dev::start("sh", &["-c", SMALL_FILES, program]).await;
    let shut = async |dev: &Dev| {
        let file = |name| size(&dev.dir, name);
        let largest = file("longshore.db").max(file("longshore.db-wal"));
        limit(dev, &largest.to_string());
    };
    let open = async |dev: &Dev| limit(dev, "unlimited");
    through_a_shortage(&mut dev, fault, shut, open).await;
}

fn size(dir: &TestDir, name: &str) -> u64 {
    std::fs::metadata(dir.join("disk").join(name)).map_or(0, |file| file.len())
}

/// How large files may grow from now on.
fn limit(dev: &Dev, bytes: &str) {
    let pid = dev.process.pid().to_string();
    let limit = format!("--fsize={bytes}:unlimited");
    let set = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(set.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_room_waits_for_it() {
    let mut fault = fault!("The embedded process is killed, and starts without room for SQLite");
    let program = probe();
    let shell = ["sh", "-c", SMALL_FILES, program.to_str().unwrap()];
    let mut dev = Dev::start(shell[0], &shell[1..]).await;
    let switch = async |dev: &Dev, what: &str| {
        let path = format!("/v1/queues/probe/{what}");
        dev.api.post(&path, &json!(null)).await.expect(200);
    };
    switch(&dev, "pause").await;
    // Until the worker has read it: what it had begun would be cut off.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(dev.submit(&json!({"ms": 1})).await.unwrap());
    }
    dev.process.kill9();
    // Not a byte more than there is.
    let log = size(&dev.dir, "longshore.db-wal");
    let fsize = format!("--fsize={log}:unlimited");
    let arguments = [&[&fsize[..]], &shell[..]].concat();
    let started = launch(&dev.dir, "prlimit", &arguments).await;
    (dev.process, dev.api) = started;
    let waiting = "waiting for the database";
    let told = dev.process.wait_for_line(waiting, PATIENCE).await;
    assert!(told.contains("no room"), "{told}");
    let ready = dev.api.get("/readyz").await;
    assert_eq!(ready.status.as_u16(), 503, "{}", ready.body);
    limit(&dev, "unlimited");
    fault.over();
    self::ready(&dev.api).await;
    switch(&dev, "resume").await;
    dev.all_ran_once(&ids, fault).await;
    verified(&mut dev).await;
}
