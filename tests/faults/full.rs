//! Embedded, with no room left for the database: what is sent is refused and says why, what was
//! accepted is there, and all of it runs once there is room.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::site::probe;
use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::program::{Launch, Program, free_port, program};
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

    /// How often each job started and ended.
    fn marks(&self) -> BTreeMap<String, (usize, usize)> {
        let text = std::fs::read_to_string(self.dir.join("marks")).unwrap_or_default();
        let mut marks: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for line in text.lines() {
            let mut parts = line.split(' ');
            let (what, id) = (parts.next().unwrap(), parts.next().unwrap());
            let mark = marks.entry(id.to_owned()).or_default();
            match what {
                "start" => mark.0 += 1,
                _ => mark.1 += 1,
            }
        }
        marks
    }

    /// All of these and no others have run, once, with no attempt lost.
    async fn all_ran_once(&self, ids: &[String]) {
        for id in ids {
            let job = until(&format!("{id} has succeeded"), PATIENCE, async || {
                let path = format!("/v1/jobs/{id}");
                let answer = self.api.get(&path).await;
                (answer.body["state"] == "succeeded").then_some(answer.body)
            })
            .await;
            assert_eq!(job["attempt"], 1, "{job}");
            assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job}");
        }
        let marks = self.marks();
        assert_eq!(marks.len(), ids.len(), "jobs that nobody was told of");
        for id in ids {
            assert_eq!(marks[id], (1, 1), "{id}");
        }
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
async fn through_a_shortage(dev: &mut Dev, shut: impl AsyncFn(&Dev), open: impl AsyncFn(&Dev)) {
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
    let running = || dev.marks().values().filter(|(_, ends)| *ends > 0).count();
    until("what runs has come to its end", PATIENCE, async || {
        (running() >= 4).then_some(())
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
    ready(&dev.api).await;
    for _ in 0..20 {
        ids.push(
            until("it is accepted", PATIENCE, async || {
                dev.submit(&json!({"ms": 1})).await.ok()
            })
            .await,
        );
    }
    dev.all_ran_once(&ids).await;
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
    if !has_namespaces() {
        // A container without rights: there the limit on files must do for both.
        return through_a_limit().await;
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
    through_a_shortage(&mut dev, shut, open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_grow_refuses_by_name_and_loses_and_repeats_nothing() {
    through_a_limit().await;
}

async fn through_a_limit() {
    let program = probe();
    let program = program.to_str().unwrap();
    let mut dev = Dev::start("sh", &["-c", SMALL_FILES, program]).await;
    let limit = |dev: &Dev, bytes: &str| {
        let pid = dev.process.pid().to_string();
        let limit = format!("--fsize={bytes}:unlimited");
        let set = Command::new("prlimit")
            .args(["--pid", &pid, &limit])
            .status();
        assert!(set.unwrap().success());
    };
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let shut = async |dev: &Dev| {
        let file = |name: &str| size(&dev.dir.join("disk").join(name));
        let largest = file("longshore.db").max(file("longshore.db-wal"));
        limit(dev, &largest.to_string());
    };
    let open = async |dev: &Dev| limit(dev, "unlimited");
    through_a_shortage(&mut dev, shut, open).await;
}
