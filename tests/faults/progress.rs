//! What a handler says of how far it is, seen from outside while it runs.

use serde_json::{Value, json};

use crate::site::{Site, probe};
use crate::support::dir::TestDir;
use crate::support::http::Api;
use crate::support::program::{free_port, program};
use crate::support::wait::{PATIENCE, until};

async fn submit(api: &Api, payload: Value) -> String {
    let body = json!({"kind": "probe.steps", "payload": payload});
    let job = api.post("/v1/jobs", &body).await.expect(202);
    assert_eq!(job["progress"], Value::Null);
    job["id"].as_str().unwrap().to_owned()
}

/// Two different words of the same run, then its end.
async fn goes_forward(api: &Api, id: &str) {
    let path = format!("/v1/jobs/{id}");
    let mut last = 0.0;
    for _ in 0..2 {
        last = until("it has come further", PATIENCE, async || {
            let job = api.get(&path).await.expect(200);
            let fraction = job["progress"]["fraction"].as_f64()?;
            let step = format!("step {} of 60", (fraction * 60.0).round());
            assert_eq!(job["progress"]["message"], *step, "{job}");
            assert!(job["progress"]["at"].is_string(), "{job}");
            (fraction > last).then_some(fraction)
        })
        .await;
    }
    let job = until("it has ended", PATIENCE, async || {
        let job = api.get(&path).await.expect(200);
        (job["state"] == "succeeded").then_some(job)
    })
    .await;
    assert_eq!(job["progress"], Value::Null, "{job}");
    let left = job["result"].as_u64().unwrap();
    assert!(left < 30, "its timeout is 30 s, and it slept: {job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_seen_while_it_is_made_and_written_once_a_second() {
    let site = Site::start().await;
    let _worker = site.worker().await;
    let id = submit(&site.api, json!({"steps": 60, "ms": 100})).await;
    until("the command line shows it", PATIENCE, async || {
        let mut show = site.launch(&["jobs", "show", &id]).start();
        assert!(show.wait_exit(PATIENCE).await.success());
        show.stdout().contains(" of 60").then_some(())
    })
    .await;
    goes_forward(&site.api, &id).await;
    let seconds = site.job(&id).await;
    let moment = |name: &str| -> chrono::DateTime<chrono::Utc> {
        seconds[name].as_str().unwrap().parse().unwrap()
    };
    let most = (moment("finished_at") - moment("started_at")).num_seconds() + 1;
    // PostgreSQL counts what a connection did once that has been idle for a while.
    let writes = until("its writes are counted", PATIENCE, async || {
        let count = "SELECT n_tup_ins + n_tup_upd, n_tup_upd - n_tup_hot_upd
                     FROM pg_stat_user_tables WHERE relname = 'progress'";
        let counted = site.postgres.psql_in("longshore", count).await;
        let (writes, cold) = counted.split_once('|')?;
        assert_eq!(cold, "0", "an update touched an index");
        writes.parse::<i64>().ok().filter(|writes| *writes >= 2)
    })
    .await;
    assert!(writes <= most, "{writes} writes in {most} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_seen_embedded() {
    let (dir, port) = (TestDir::new("dev"), free_port());
    let queues = "[queues.probe]\nkinds = [\"probe.steps\"]\ntimeout = \"30s\"\n";
    std::fs::write(dir.join("queues.toml"), queues).unwrap();
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
    let id = submit(&api, json!({"steps": 60, "ms": 100})).await;
    goes_forward(&api, &id).await;
}
