//! What the conformance suite cannot see from outside.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use tempfile::TempDir;

use super::SqliteStore;
use crate::job::{JobId, NewJob, ProcessId, Transition, UniqueKey};
use crate::store::{
    Action, Claim, ClaimRequest, Inserted, JobFilter, NewOperation, NewProcess, OperationId,
    Operations, Record, Retention, Role, StepBy, Store, StoreError,
};

const LEASE: Duration = Duration::from_secs(60);

/// A migrated store with one process. The folder is to be kept alive.
async fn migrated() -> (TempDir, SqliteStore, ProcessId) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.migrate().await.unwrap();
    let process = NewProcess {
        role: Role::Dev,
        name: "host/1".to_owned(),
        version: "1.0.0".to_owned(),
        queues: Vec::new(),
    };
    let process = store.register(&process).await.unwrap();
    (folder, store, process)
}

fn new_job(key: Option<&str>) -> NewJob {
    NewJob {
        unique: key.map(|key| UniqueKey {
            scope: "app".to_owned(),
            key: key.to_owned(),
            fingerprint: vec![1],
        }),
        ..NewJob::new("a.b".parse().unwrap(), "email".parse().unwrap(), "{}")
    }
}

async fn insert(store: &SqliteStore, process: ProcessId, job: &NewJob) -> Inserted {
    let jobs = std::slice::from_ref(job);
    let insertion = store.insert(process, jobs, LEASE).await.unwrap();
    insertion.jobs.into_iter().next().unwrap()
}

async fn succeed(store: &SqliteStore, process: ProcessId, id: JobId) {
    let request = ClaimRequest {
        id,
        dispatch: 1,
        over_epoch: None,
    };
    let Claim::Won(claimed) = store.claim(process, &[request]).await.unwrap().remove(0) else {
        panic!("the job is to be had");
    };
    let record = Record {
        id,
        owner: process,
        epoch: claimed.epoch,
        transition: Transition::Succeed { result: None },
    };
    assert_eq!(store.record(&[record]).await.unwrap(), [true]);
}

async fn by_hand(store: &SqliteStore, sql: &'static str) -> u64 {
    let done = sqlx::query(sql).execute(&store.writer).await.unwrap();
    done.rows_affected()
}

async fn prune_all(store: &SqliteStore) -> u64 {
    let nothing = Retention {
        queue: None,
        finished: Duration::ZERO,
        dead: Duration::ZERO,
    };
    store.prune(&[], &nothing).await.unwrap()
}

#[tokio::test]
async fn a_row_that_was_deleted_by_hand_is_missed() {
    let (_folder, store, process) = migrated().await;
    for _ in 0..3 {
        insert(&store, process, &new_job(None)).await;
    }
    assert_eq!(store.tally().await.unwrap().missing(), 0);
    assert_eq!(by_hand(&store, "DELETE FROM job WHERE rowid = 2").await, 1);
    assert_eq!(store.tally().await.unwrap().missing(), 1);
}

#[tokio::test]
async fn a_key_lives_a_day_or_as_long_as_its_job() {
    let (_folder, store, process) = migrated().await;
    let (live, ended, fresh) = (new_job(Some("1")), new_job(Some("2")), new_job(Some("3")));
    for job in [&live, &ended, &fresh] {
        insert(&store, process, job).await;
    }
    succeed(&store, process, ended.id).await;
    succeed(&store, process, fresh.id).await;
    let a_day = "UPDATE unique_key SET created_at = created_at - 86400000000 WHERE key <> '3'";
    assert_eq!(by_hand(&store, a_day).await, 2);
    assert_eq!(prune_all(&store).await, 2);
    let again = async |key| insert(&store, process, &new_job(Some(key))).await;
    assert_eq!(again("1").await, Inserted::Replayed { id: live.id });
    assert!(matches!(again("2").await, Inserted::Accepted { .. }));
    assert_eq!(again("3").await, Inserted::Replayed { id: fresh.id });
}

#[tokio::test]
async fn a_purged_jobs_key_lives_a_day_from_the_purge() {
    let (_folder, store, process) = migrated().await;
    let job = new_job(Some("1"));
    insert(&store, process, &job).await;
    let old = "UPDATE unique_key SET created_at = created_at - 2 * 86400000000";
    assert_eq!(by_hand(&store, old).await, 1);
    let dead = "UPDATE job SET state = 5, finished_at = created_at";
    assert_eq!(by_hand(&store, dead).await, 1);
    let operation = NewOperation {
        id: OperationId::new(),
        action: Action::Purge,
        filter: JobFilter::default(),
        limit: None,
        rate: None,
        created_by: "somebody".to_owned(),
    };
    store.begin(&operation).await.unwrap();
    let by = StepBy {
        executor: uuid::Uuid::now_v7(),
        batch: 10,
        hold: LEASE,
        lease: LEASE,
    };
    store.advance(&by, None).await.unwrap();
    assert_eq!(store.tally().await.unwrap().pruned, 1);
    prune_all(&store).await;
    let again = async || insert(&store, process, &new_job(Some("1"))).await;
    assert_eq!(again().await, Inserted::Replayed { id: job.id });
    let a_day = "UPDATE unique_key SET created_at = created_at - 86400000000";
    assert_eq!(by_hand(&store, a_day).await, 1);
    prune_all(&store).await;
    assert!(matches!(again().await, Inserted::Accepted { .. }));
}

/// C strings end at a NUL; keys do not.
#[tokio::test]
async fn keys_that_differ_after_a_nul_are_two() {
    let (_folder, store, process) = migrated().await;
    for key in ["a", "a\0b", "a\0c", "a\0"] {
        let job = new_job(Some(key));
        let first = insert(&store, process, &job).await;
        assert!(matches!(first, Inserted::Accepted { .. }), "{key:?}");
        let again = insert(&store, process, &new_job(Some(key))).await;
        assert_eq!(again, Inserted::Replayed { id: job.id }, "{key:?}");
    }
}

#[tokio::test]
async fn more_than_a_chunk_is_pruned_at_once() {
    let (_folder, store, process) = migrated().await;
    let jobs: Vec<NewJob> = (0..2500).map(|_| new_job(None)).collect();
    store.insert(process, &jobs, LEASE).await.unwrap();
    let ended = "UPDATE job SET state = 4, finished_at = created_at WHERE rowid <= 2400";
    assert_eq!(by_hand(&store, ended).await, 2400);
    assert_eq!(prune_all(&store).await, 2400);
    let tally = store.tally().await.unwrap();
    assert_eq!((tally.pruned, tally.live, tally.missing()), (2400, 100, 0));
}

/// The last row of a batch is refused: the rows before it, the keys, the outbox and the count
/// go with it.
#[tokio::test]
async fn nothing_of_a_refused_batch_is_kept() {
    let (_folder, store, process) = migrated().await;
    by_hand(
        &store,
        "CREATE TRIGGER refuse BEFORE INSERT ON job WHEN new.kind = 'bad.kind'
         BEGIN SELECT raise(ABORT, 'refused'); END",
    )
    .await;
    let good = new_job(Some("1"));
    let bad = NewJob {
        kind: "bad.kind".parse().unwrap(),
        ..new_job(Some("2"))
    };
    let refused = store.insert(process, &[good.clone(), bad], LEASE).await;
    assert!(matches!(refused, Err(StoreError::Data(_))), "{refused:?}");
    assert_eq!(store.outbox_age().await.unwrap(), None);
    assert_eq!(store.tally().await.unwrap().accepted, 0);
    let alone = insert(&store, process, &good).await;
    assert!(matches!(alone, Inserted::Accepted { .. }), "{alone:?}");
}

/// A lock that another process holds too long is contention: the call may be repeated.
#[tokio::test]
async fn another_process_that_holds_the_lock_is_contention() {
    let (folder, store, process) = migrated().await;
    let other = SqliteStore::open(&folder.path().join("jobs.db"))
        .await
        .unwrap();
    let holding = other.write().await.unwrap();
    let refused = store.beat(process).await.unwrap_err();
    assert!(matches!(refused, StoreError::Contention(_)), "{refused:?}");
    assert_eq!(store.beats().await.unwrap().len(), 1, "readers do not wait");
    drop(holding);
    store.beat(process).await.unwrap();
}

/// A caller that gives up leaves neither a transaction behind nor a connection lost.
#[tokio::test]
async fn a_cancelled_call_leaves_the_store_usable() {
    let (_folder, store, process) = migrated().await;
    let jobs: Vec<NewJob> = (0..200).map(|_| new_job(None)).collect();
    for micros in (0..4000).step_by(100) {
        let call = store.insert(process, &jobs, LEASE);
        let _given_up = tokio::time::timeout(Duration::from_micros(micros), call).await;
        assert_eq!(store.tally().await.unwrap().missing(), 0);
    }
    store.insert(process, &jobs, LEASE).await.unwrap();
    let tally = store.tally().await.unwrap();
    assert_eq!((tally.live, tally.missing()), (200, 0));
}

/// A batch must cost what its rows cost, not the square of it, however many jobs are queued.
#[tokio::test]
async fn batches_look_jobs_up_by_id() {
    let (_folder, store, _) = migrated().await;
    for sql in [
        super::claim::TAKE,
        super::record::KEEP_ATTEMPTS,
        super::record::MOVE,
        super::outbox::STILL_QUEUED,
    ] {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain)
            .fetch_all(&store.writer)
            .await
            .unwrap();
        let plan: Vec<&str> = plan.iter().map(|row| row.3.as_str()).collect();
        let batch = plan
            .iter()
            .position(|step| step.starts_with("SCAN r VIRTUAL"));
        let jobs = plan.iter().position(|step| {
            step.starts_with("SEARCH job USING") && step.contains("sqlite_autoindex_job_1 (id=?)")
        });
        assert!(batch.is_some() && batch < jobs, "{plan:#?}");
    }
}
