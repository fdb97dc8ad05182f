use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::site::Site;
use crate::support::wait::{PATIENCE, until};

/// Dead jobs of the great requeue.
const DEAD: usize = 100_000;
/// How far from its place in the order a job may start: what the workers hold at once, and a
/// batch that is published again after its executor's death.
const SHUFFLED: usize = 2_000;

const QUEUES: &str = r#"
[queues.probe]
kinds = ["probe.sleep", "probe.fail"]
concurrency = 64
prefetch = 256
timeout = "5m"
"#;

/// Dead jobs as the store keeps them, the oldest first.
async fn make_dead(connection: &mut PgConnection, count: usize) {
    let statement = format!(
        "CREATE TEMPORARY TABLE made AS
         SELECT n, (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - 3600000 + n), 12, '0')
                    || '70008000' || lpad(to_hex(n), 12, '0'))::uuid AS id
         FROM generate_series(1, {count}) n;
         INSERT INTO longshore.job (id, kind, queue, payload, high, tags, created_at)
         SELECT id, 'probe.sleep', 'probe', '{{\"ms\": 0}}', false, '{{}}', now() FROM made;
         INSERT INTO longshore.done (id, kind, queue, state, dispatch, epoch, failures, recorded,
                                     started_at, finished_at, error_code, error_message,
                                     error_class, fingerprint)
         SELECT id, 'probe.sleep', 'probe', 5, 1, 1, 1, 0, now(), now(), 'down', 'it was down',
                'permanent', '0123456789abcdef'
         FROM made;
         INSERT INTO longshore.attempt (id, number, finished_at, error_code, error_message,
                                        error_class)
         SELECT id, 1, now(), 'down', 'it was down', 'permanent' FROM made;
         INSERT INTO longshore.tally (process, slot, accepted) VALUES (0, 99, {count})"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(connection)
        .await
        .unwrap();
}

/// State and number of jobs done of the only operation.
async fn stands(connection: &mut PgConnection) -> (i16, i64) {
    sqlx::query_as("SELECT state, done FROM longshore.operation")
        .fetch_one(connection)
        .await
        .unwrap()
}

async fn done_at_least(connection: &mut PgConnection, count: usize) {
    let what = format!("{count} jobs are sent back");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let begun: i64 = sqlx::query_scalar("SELECT count(*) FROM longshore.operation")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        if begun == 1 && stands(connection).await.1 >= i64::try_from(count).unwrap() {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "not in time: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requeue_of_100_000_survives_whoever_executes_it() {
    let mut site = Site::with_queues(QUEUES).await;
    let mut database = PgConnection::connect(site.database()).await.unwrap();
    make_dead(&mut database, DEAD).await;
    let mut command = site.launch(&["dlq", "requeue", "probe", "--yes"]).start();
    done_at_least(&mut database, DEAD / 4).await;
    command.kill9();
    let (state, at_kill) = stands(&mut database).await;
    assert_eq!(state, 0, "killed half-way, at {at_kill}");
    // By itself, in the intake's relay; which dies too.
    done_at_least(&mut database, DEAD / 2).await;
    site.intake.as_mut().unwrap().kill9();
    let (state, at_second) = stands(&mut database).await;
    assert_eq!(state, 0, "killed half-way, at {at_second}");
    let _worker = site.worker().await;
    done_at_least(&mut database, DEAD).await;
    while stands(&mut database).await.0 != 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    site.start_intake().await;

    until("every job has succeeded", 3 * PATIENCE, async || {
        let path = "/v1/jobs?limit=1&state=dead&state=queued&state=running&state=retrying";
        let left = site.api.get(path).await.expect(200);
        left["items"].as_array()?.is_empty().then_some(())
    })
    .await;
    // Each once: under one new dispatch, started once, its first attempt still on record.
    let odd: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM made m LEFT JOIN longshore.done d USING (id)
         WHERE d.state IS DISTINCT FROM 4 OR d.dispatch <> 2 OR d.recorded <> 1",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!(odd, 0, "jobs that were not sent back exactly once");
    let starts = site.starts();
    assert_eq!(starts.len(), DEAD, "handlers that started");
    let mut made: Vec<String> = sqlx::query_scalar("SELECT id::text FROM made ORDER BY id")
        .fetch_all(&mut database)
        .await
        .unwrap();
    let place: HashMap<String, usize> = made.drain(..).enumerate().map(|(n, id)| (id, n)).collect();
    let worst = starts
        .iter()
        .enumerate()
        .map(|(n, id)| place[id].abs_diff(n))
        .max();
    eprintln!("killed at {at_kill} and {at_second}; started at most {worst:?} out of place");
    assert!(worst.unwrap() <= SHUFFLED, "{worst:?} out of place");
    let (matched, skipped, failed): (i64, i64, i64) =
        sqlx::query_as("SELECT matched, skipped, failed FROM longshore.operation")
            .fetch_one(&mut database)
            .await
            .unwrap();
    assert_eq!((matched, skipped, failed), (DEAD as i64, 0, 0));
    site.balanced().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_cancelled_by_its_worker_or_when_that_dies() {
    let site = Site::with_queues(QUEUES).await;
    let mut worker = site.worker().await;
    let ids = site.submit_sleeps(3, 120_000).await;
    site.started(3).await;
    let cancel = async |id: &str| {
        let path = format!("/v1/jobs/{id}/cancel");
        site.api.post(&path, &json!({})).await
    };
    // Its handler never asks: it is cut off where it waits, after the grace.
    let asked = cancel(&ids[0]).await.expect(202);
    assert_eq!(asked["cancel_requested"], true, "{asked}");
    cancel(&ids[0]).await.expect(202);
    let cancelled = site.all(&ids[..1], "cancelled").await;
    assert_eq!(cancelled[0]["attempts"], json!([]), "{}", cancelled[0]);
    cancel(&ids[0]).await.expect(200);
    assert_eq!(site.job(&ids[1]).await["state"], "running");
    // The request outlives the worker that would have followed it.
    worker.freeze();
    cancel(&ids[1]).await.expect(202);
    worker.kill9();
    let _other = site.worker().await;
    site.all(&ids[1..2], "cancelled").await;
    site.started(4).await;
    assert_eq!(site.marks()[&ids[1]].starts, 1, "it did not run again");
    cancel(&ids[2]).await.expect(202);
    site.all(&ids[2..], "cancelled").await;
    assert!(site.marks().values().all(|marks| marks.ends == 0));
    let again = format!("/v1/jobs/{}/requeue", ids[0]);
    let payload = json!({"payload": {"ms": 1}});
    site.api.post(&again, &payload).await.expect(202);
    let job = &site.all(&ids[..1], "succeeded").await[0];
    assert_eq!(job["original_payload"], json!({"ms": 120_000}), "{job}");
    cancel(&ids[0]).await.expect(409);
    site.balanced().await;
}
