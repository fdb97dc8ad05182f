//! Jobs that take their process down, or half of it: they end as dead letters with the reason,
//! and their neighbours lose nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use crate::site::{Site, probe};
use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::program::{Launch, free_port, program};
use crate::support::record::fault;
use crate::support::wait::{PATIENCE, until};

const QUEUES: &str = r#"
[queues.probe]
kinds = ["probe.sleep", "probe.fail", "probe.poison"]
concurrency = 8
prefetch = 16
timeout = "6s"
[queues.probe.retry]
max_attempts = 2
initial = "300ms"
jitter = 0.0
"#;

async fn poison(site: &Site, doom: &str) -> String {
    site.submit("probe.poison", json!({"doom": doom})).await
}

/// As if these jobs had taken two processes down. No worker may be there yet.
async fn crashed_twice(site: &Site, ids: &[String]) {
    let ids = ids.join("', '");
    let sql = format!("UPDATE longshore.live SET crashes = 2 WHERE id IN ('{ids}') RETURNING id");
    let changed = site.postgres.psql_in("longshore", &sql).await;
    assert!(!changed.is_empty());
}

/// Keeps so many workers up, as a supervisor does, until it is told to stop.
async fn supervise(site: &Site, workers: usize, settings: &[(&str, &str)], stop: &AtomicBool) {
    let mut up = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        while up.len() < workers {
            let port = free_port();
            let mut launch = site
                .launch(&["work", "probe"])
                .env("LONGSHORE_HEALTH_LISTEN", format!("127.0.0.1:{port}"));
            for (name, value) in settings {
                launch = launch.env(name, *value);
            }
            up.push(launch.start());
        }
        up.retain_mut(|worker| worker.is_running());
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// The processes that these were started in: each takes its own down.
fn taken_down(site: &Site, doomed: &[String]) -> Vec<u32> {
    let starts = site.history().into_iter().filter(|mark| mark.is_start);
    let doomed = starts.filter(|mark| doomed.contains(&mark.job));
    doomed.map(|mark| mark.pid).collect()
}

/// Does something while a supervisor keeps workers up.
async fn supervised<T>(
    site: &Site,
    workers: usize,
    settings: &[(&str, &str)],
    work: impl Future<Output = T>,
) -> T {
    let stop = Arc::new(AtomicBool::new(false));
    let done = async {
        let done = work.await;
        stop.store(true, Ordering::SeqCst);
        done
    };
    tokio::join!(done, supervise(site, workers, settings, &stop)).0
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_its_process_down_dies_alone_and_its_neighbours_lose_nothing() {
    let mut fault = fault!("Jobs that abort their process, or end it");
    let site = Site::with_queues(QUEUES).await;
    let mut neighbours = site.submit_sleeps(30, 400).await;
    let doomed = [poison(&site, "abort").await, poison(&site, "exit").await];
    neighbours.extend(site.submit_sleeps(30, 400).await);
    let dead = supervised(&site, 2, &[], async {
        site.nothing_burned(&neighbours).await;
        site.all(&doomed, "dead").await
    })
    .await;
    for job in dead {
        let error = &job["error"];
        assert_eq!(error["code"], "crashed", "{job}");
        assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job}");
        let message = error["message"].as_str().unwrap();
        let reason = match job["payload"]["doom"].as_str() {
            Some("abort") => "SIGABRT",
            _ => "exit status: 0",
        };
        assert!(message.contains(reason), "{message}");
        let starts = site.marks()[job["id"].as_str().unwrap()].starts;
        assert!((1..=3).contains(&starts), "{starts} starts: {job}");
    }
    fault.cuts_off_all(taken_down(&site, &doomed));
    site.hand_in_besides(fault, &neighbours, doomed.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_it_has_all_that_it_has_elsewhere() {
    let site = Site::with_queues(QUEUES).await;
    let id = poison(&site, "abort_unless_alone").await;
    let eater = poison(&site, "eat_memory").await;
    crashed_twice(&site, &[id.clone(), eater.clone()]).await;
    // Enough for everything but a glutton; flags beat the environment here, too.
    let port = free_port();
    let shell = format!(
        "ulimit -v 6000000; unset DATABASE_URL; exec {:?} work probe --database-url '{}'",
        probe(),
        site.database()
    );
    let mut worker = like_a_probe(&site, &["-c", &shell])
        .env("LONGSHORE_HEALTH_LISTEN", format!("127.0.0.1:{port}"))
        .start();
    site.ready(port).await;
    until("progress is told from there", PATIENCE, async || {
        let progress = site.job(&id).await["progress"].clone();
        (progress["message"] == "alone" && progress["fraction"].as_f64()? > 0.0).then_some(())
    })
    .await;
    let jobs = site.all(std::slice::from_ref(&id), "succeeded").await;
    assert_eq!(jobs[0]["result"], "alone");
    assert_eq!(jobs[0]["attempt"], 1);
    let child = site.marks()[&id].pids[0];
    assert_ne!(child, worker.pid());
    let next = until("the next job has run", PATIENCE, async || {
        let found = site.api.get("/v1/jobs?kind=probe.sleep").await.expect(200);
        let job = found["items"].as_array()?.first()?.clone();
        (job["state"] == "succeeded").then_some(job)
    })
    .await;
    assert_eq!(
        site.marks()[next["id"].as_str().unwrap()].pids,
        [worker.pid()]
    );
    let dead = site.all(&[eater], "dead").await;
    assert_eq!(dead[0]["error"]["code"], "crashed", "{}", dead[0]);
    assert!(worker.is_running(), "its worker has lost nothing");
    site.balanced().await;
}

/// A shell with what the probe needs in its environment.
fn like_a_probe(site: &Site, arguments: &[&str]) -> Launch {
    site.launch(&[]).by("sh", arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_ends_with_its_worker_and_at_its_timeout() {
    let site = Site::with_queues(&QUEUES.replace("6s", "15s")).await;
    let id = poison(&site, "block_its_thread").await;
    crashed_twice(&site, std::slice::from_ref(&id)).await;
    let mut worker = site.worker().await;
    let child = child_of(&site, 1).await;
    assert_ne!(child, worker.pid());
    // The worker alone: it has no moment to end its child.
    worker.signal(Signal::SIGKILL);
    until("the child ends, busy as it is", PATIENCE, async || {
        (!Path::new(&format!("/proc/{child}/exe")).exists()).then_some(())
    })
    .await;
    // Told to stop, a worker hands it back and ends its child.
    let mut leaving = site
        .worker_with(&[("LONGSHORE_SHUTDOWN_DEADLINE", "1s")])
        .await;
    let second = child_of(&site, 2).await;
    leaving.term();
    assert!(leaving.wait_exit(PATIENCE).await.success());
    assert!(!Path::new(&format!("/proc/{second}/exe")).exists());
    assert_eq!(site.job(&id).await["attempts"], json!([]));
    // Left alone it runs into its timeout, twice.
    let last = site.worker().await;
    let dead = site.all(&[id], "dead").await;
    assert_eq!(dead[0]["error"]["code"], "timeout", "{}", dead[0]);
    assert_eq!(dead[0]["attempts"].as_array().unwrap().len(), 2);
    let said = last.output_so_far();
    assert_eq!(said.matches("running a job alone").count(), 2, "{said}");
}

/// The process that the n-th start of a handler was in.
async fn child_of(site: &Site, nth: usize) -> u32 {
    until("the handler has begun", PATIENCE, async || {
        site.start_pids().get(nth - 1).copied()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_threads_are_all_blocked_is_ended_and_its_jobs_run_elsewhere() {
    let mut fault = fault!("Jobs that block every thread of their process");
    let site = Site::with_queues(QUEUES).await;
    let mut blockers = Vec::new();
    for _ in 0..6 {
        blockers.push(poison(&site, "block_its_thread").await);
    }
    let neighbours = site.submit_sleeps(8, 100).await;
    let two = [("TOKIO_WORKER_THREADS", "2")];
    let mut first = site
        .launch(&["work", "probe"])
        .env(two[0].0, two[0].1)
        .start();
    first
        .wait_for_line("every thread is blocked", PATIENCE)
        .await;
    assert_eq!(first.wait_exit(PATIENCE).await.code(), Some(1));
    let dead = supervised(&site, 2, &two, async {
        site.nothing_burned(&neighbours).await;
        site.all_within(&blockers, "dead", PATIENCE * 2).await
    })
    .await;
    for job in dead {
        assert_eq!(job["error"]["code"], "timeout", "{job}");
    }
    fault.cuts_off_all(taken_down(&site, &blockers));
    site.hand_in_besides(fault, &neighbours, blockers.len())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_it_runs_alone_too() {
    let (dir, port) = (TestDir::new("dev"), free_port());
    std::fs::write(dir.join("queues.toml"), QUEUES).unwrap();
    let _dev = program(probe(), ["dev"])
        .within(dir.path())
        .env("LONGSHORE_LISTEN", format!("127.0.0.1:{port}"))
        .env("PROBE_MARKS", dir.join("marks"))
        .start();
    let api = Api::new(format!("http://127.0.0.1:{port}"));
    until("dev is ready", PATIENCE, async || {
        let status = api.status("/readyz").await?;
        status.is_success().then_some(())
    })
    .await;
    let switch = async |what: &str| {
        let path = format!("/v1/queues/probe/{what}");
        api.post(&path, &json!(null)).await.expect(200)
    };
    switch("pause").await;
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    let mut ids = Vec::new();
    for doom in ["abort_unless_alone", "abort"] {
        let body = json!({"kind": "probe.poison", "payload": {"doom": doom}});
        let job = api.post("/v1/jobs", &body).await.expect(202);
        ids.push(job["id"].as_str().unwrap().to_owned());
    }
    let file = dir.join(".longshore/longshore.db");
    let url = format!("sqlite://{}", file.display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    let changed = sqlx::query("UPDATE job SET crashes = 2 WHERE state = 1")
        .execute(&mut database)
        .await
        .unwrap();
    assert_eq!(changed.rows_affected(), 2);
    database.close().await.unwrap();
    switch("resume").await;
    let ended = async |id: &str| {
        until("it has ended", PATIENCE, async || {
            let job = api.get(&format!("/v1/jobs/{id}")).await.expect(200);
            (job["finished_at"] != Value::Null).then_some(job)
        })
        .await
    };
    let alone = ended(&ids[0]).await;
    assert_eq!(
        (&alone["state"], &alone["result"]),
        (&json!("succeeded"), &json!("alone"))
    );
    let dead = ended(&ids[1]).await;
    assert_eq!(dead["error"]["code"], "crashed", "{dead}");
}
