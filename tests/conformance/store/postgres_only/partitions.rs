use std::time::Duration;

use longshore::job::{JobId, NewJob, State, Transition, UniqueKey};
use longshore::store::{Inserted, JobFilter, Retention};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::super::world::{LONG, World, ZERO, die, new_job, new_jobs, retry, succeed};
use super::{execute, world};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The partitions of `job`, without the default one, in order.
async fn days(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'longshore.job'::regclass AND c.relname <> 'job_default'
         ORDER BY 1",
    )
    .fetch_all(connection)
    .await
    .unwrap()
}

/// The names that the partitions of today and the days after it must have.
async fn expected_days(connection: &mut PgConnection, from: i32, to: i32) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT 'job_' || to_char((now() AT TIME ZONE 'UTC')::date + n, 'YYYYMMDD')
         FROM generate_series($1, $2) n",
    )
    .bind(from)
    .bind(to)
    .fetch_all(connection)
    .await
    .unwrap()
}

/// An id of a job that was made some days ago.
fn old_id(days: u64, n: u64) -> JobId {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let then = now.as_secs() - days * DAY.as_secs();
    let stamp = uuid::Timestamp::from_unix(uuid::NoContext, then, 0);
    let mut bytes = *Uuid::new_v7(stamp).as_bytes();
    bytes[8..].copy_from_slice(&(n | 1 << 63).to_be_bytes());
    JobId::from(Uuid::from_bytes(bytes))
}

/// Makes the partitions of a day that is over, as they were made when it began.
async fn create_past_day(connection: &mut PgConnection, days_ago: u64) -> String {
    let day = old_id(days_ago, 0).uuid();
    let millis = u64::from_be_bytes(day.as_bytes()[..8].try_into().unwrap()) >> 16;
    let start = millis / 86_400_000 * 86_400_000;
    let bound = |millis: u64| Uuid::from_u128(u128::from(millis) << 80);
    let name: String = sqlx::query_scalar(
        "SELECT to_char(to_timestamp($1::float8 / 1000) AT TIME ZONE 'UTC', 'YYYYMMDD')",
    )
    .bind(start as f64)
    .fetch_one(&mut *connection)
    .await
    .unwrap();
    for table in ["job", "done", "attempt", "tag"] {
        let (from, to) = (bound(start), bound(start + 86_400_000));
        let statement = format!(
            "CREATE TABLE longshore.{table}_{name} PARTITION OF longshore.{table}
             FOR VALUES FROM ('{from}') TO ('{to}')"
        );
        execute(connection, statement).await;
    }
    format!("job_{name}")
}

/// Lets a finished job have ended that long ago.
async fn age(connection: &mut PgConnection, ids: &[JobId], days: u64) {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let aged = sqlx::query(
        "UPDATE longshore.done
         SET finished_at = finished_at - $2 * interval '1 day', prompt = false
         WHERE id = ANY ($1)",
    )
    .bind(&ids)
    .bind(days as f64)
    .execute(connection)
    .await
    .unwrap();
    assert_eq!(aged.rows_affected(), ids.len() as u64);
}

fn week_and_quarter() -> Retention {
    Retention {
        queue: None,
        finished: 7 * DAY,
        dead: 90 * DAY,
    }
}

async fn prune(world: &World) -> u64 {
    world.store.prune(&[], &week_and_quarter()).await.unwrap()
}

/// A job of that day that came to its end, or to where it still waits.
async fn ended(world: &World, id: JobId, transition: Transition) -> JobId {
    let job = NewJob { id, ..new_job() };
    world.ended(job, transition).await
}

fn in_partition(id: JobId, table: &str) -> String {
    let id = id.uuid();
    format!(
        "SELECT c.relname::text FROM longshore.{table} t JOIN pg_class c ON c.oid = t.tableoid WHERE t.id = '{id}'"
    )
}

async fn partition_of(connection: &mut PgConnection, id: JobId, table: &str) -> Option<String> {
    sqlx::query_scalar(AssertSqlSafe(in_partition(id, table)))
        .fetch_optional(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn partitions_exist_ahead_and_are_made_again_by_pruning() {
    let (world, mut connection) = world().await;
    let before = days(&mut connection).await;
    // Midnight may come between the two looks.
    let expected = expected_days(&mut connection, 0, 3).await;
    let midnight = expected_days(&mut connection, -1, 2).await;
    assert!(before == expected || before == midnight, "{before:?}");
    for day in &before[1..] {
        for table in ["job", "done", "attempt", "tag"] {
            let partition = day.replace("job", table);
            execute(&mut connection, format!("DROP TABLE longshore.{partition}")).await;
        }
    }
    assert_eq!(prune(&world).await, 0);
    let after = days(&mut connection).await;
    for day in expected_days(&mut connection, 0, 2).await {
        assert!(after.contains(&day), "{day} is not among {after:?}");
    }
    let id = world.queued().await;
    let partition = partition_of(&mut connection, id, "job").await.unwrap();
    assert!(!partition.ends_with("_default"), "{partition}");
    world.close().await;
}

/// Nobody made the day's partition in time, so its jobs went to the default partition.
#[tokio::test]
async fn a_day_that_began_without_a_partition_works() {
    let (world, mut connection) = world().await;
    for day in days(&mut connection).await {
        for table in ["job", "done", "attempt", "tag"] {
            let partition = day.replace("job", table);
            execute(&mut connection, format!("DROP TABLE longshore.{partition}")).await;
        }
    }
    let dead = world.ended(new_job(), die("x")).await;
    let (running, claimed) = world.running().await;
    for table in ["job", "done", "attempt"] {
        let partition = partition_of(&mut connection, dead, table).await.unwrap();
        assert_eq!(partition, format!("{table}_default"));
    }
    assert_eq!(prune(&world).await, 0);
    assert!(
        !days(&mut connection).await.is_empty(),
        "the days to come have theirs"
    );
    assert!(world.record(running, &claimed, succeed()).await);
    assert_eq!(world.view(dead).await.attempts().len(), 1);
    let again = new_job();
    let jobs = [NewJob { id: dead, ..again }];
    let insertion = world.insert(&jobs).await;
    assert_eq!(insertion.jobs, [Inserted::Replayed { id: dead }]);
    assert_eq!(world.prune_all().await, 2);
    world.close().await;
}

#[tokio::test]
async fn a_day_past_its_retention_is_dropped_and_counted() {
    let (world, mut connection) = world().await;
    let day = create_past_day(&mut connection, 9).await;
    let recent = create_past_day(&mut connection, 6).await;
    let mut gone = Vec::new();
    for n in 0..20 {
        gone.push(ended(&world, old_id(9, n), succeed()).await);
    }
    let dead = ended(&world, old_id(9, 100), die("x")).await;
    let retrying = ended(&world, old_id(9, 101), retry(LONG)).await;
    let late = ended(&world, old_id(9, 102), succeed()).await;
    let kept = ended(&world, old_id(6, 0), succeed()).await;
    age(&mut connection, &gone, 9).await;
    age(&mut connection, &[dead, late], 6).await;
    assert_eq!(prune(&world).await, 20);
    world.balanced().await;
    let left = days(&mut connection).await;
    assert!(!left.contains(&day) && left.contains(&recent), "{left:?}");
    for id in [dead, retrying, late] {
        let partition = partition_of(&mut connection, id, "job").await.unwrap();
        assert_eq!(partition, "job_default", "it outlives its day");
    }
    assert_eq!(world.view(dead).await.state, State::Dead);
    assert_eq!(world.view(dead).await.attempts().len(), 1);
    assert_eq!(world.view(retrying).await.state, State::Retrying);
    assert_eq!(world.view(kept).await.state, State::Succeeded);
    for id in &gone {
        assert!(world.store.job(*id).await.unwrap().is_none());
    }
    assert_eq!(prune(&world).await, 0);
    let any = JobFilter::default();
    let requeued = world.requeue_dead(&any, 10, LONG).await.unwrap();
    assert_eq!(requeued.publications[0].id, dead);
    let claimed = world.won(dead, 2).await;
    assert!(world.record(dead, &claimed, succeed()).await);
    let tally = world.store.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.pruned, tally.live), (24, 20, 1));
    world.close().await;
}

/// A partition that is dropped is gone for older snapshots too, and the counters are not.
#[tokio::test]
async fn what_is_verified_while_a_day_is_dropped_adds_up() {
    let (world, mut connection) = world().await;
    for n in 0..10 {
        ended(&world, old_id(0, n), succeed()).await;
    }
    execute(
        &mut connection,
        "BEGIN; TRUNCATE longshore.job, longshore.done, longshore.attempt, longshore.tag; \
         UPDATE longshore.tally SET pruned = pruned + 10 WHERE process = 0; \
         INSERT INTO longshore.tally (process, slot, pruned) SELECT 0, 0, 10 \
         WHERE NOT EXISTS (SELECT FROM longshore.tally WHERE process = 0)"
            .to_owned(),
    )
    .await;
    let looking = tokio::spawn({
        let store = world.store.clone();
        async move { store.sheet(&[], &[], 10).await }
    });
    // It waits, with its snapshot or without.
    super::waits_for_a_lock(&mut connection).await;
    execute(&mut connection, "COMMIT".to_owned()).await;
    let sheet = looking.await.unwrap().unwrap();
    assert_eq!((sheet.jobs.accepted, sheet.jobs.pruned), (10, 10));
    assert!(sheet.is_balanced(), "{sheet:?}");
    world.close().await;
}

/// What is left of a dropped day in the default partition goes row by row.
#[tokio::test]
async fn a_dead_letter_that_outlived_its_day_goes_in_its_time() {
    let (world, mut connection) = world().await;
    create_past_day(&mut connection, 9).await;
    let dead = ended(&world, old_id(9, 0), die("x")).await;
    assert_eq!(prune(&world).await, 0);
    age(&mut connection, &[dead], 90).await;
    assert_eq!(prune(&world).await, 0, "overdue by less than a day");
    age(&mut connection, &[dead], 2).await;
    assert_eq!(prune(&world).await, 1);
    assert_eq!(partition_of(&mut connection, dead, "attempt").await, None);
    assert_eq!(partition_of(&mut connection, dead, "job").await, None);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pruners_count_each_job_once() {
    let (world, mut connection) = world().await;
    create_past_day(&mut connection, 12).await;
    create_past_day(&mut connection, 11).await;
    let mut old = Vec::new();
    for n in 0..30 {
        old.push(ended(&world, old_id(11 + n % 2, n), succeed()).await);
    }
    age(&mut connection, &old, 10).await;
    for _ in 0..30 {
        world.ended(new_job(), succeed()).await;
    }
    let keep = Retention {
        finished: 7 * DAY,
        ..week_and_quarter()
    };
    let nothing = Retention {
        finished: ZERO,
        ..week_and_quarter()
    };
    let mut pruners = Vec::new();
    for n in 0..6 {
        let store = world.elsewhere().await;
        let retention = if n % 2 == 0 {
            keep.clone()
        } else {
            nothing.clone()
        };
        pruners.push(tokio::spawn(async move {
            let mut pruned = 0;
            for _ in 0..5 {
                pruned += store.prune(&[], &retention).await.unwrap();
            }
            store.close().await;
            pruned
        }));
    }
    let mut pruned = 0;
    for pruner in pruners {
        pruned += pruner.await.unwrap();
    }
    // What every one of them found locked.
    pruned += world.store.prune(&[], &nothing).await.unwrap();
    assert_eq!(pruned, 60);
    assert_eq!(world.store.tally().await.unwrap().pruned, 60);
    world.close().await;
}

#[tokio::test]
async fn a_copy_of_a_pruned_jobs_message_is_stale_and_never_adopted() {
    let (world, _connection) = world().await;
    let id = world.queued().await;
    let message = world.store.publication(id, 1).await.unwrap().unwrap();
    let claimed = world.won(id, 1).await;
    assert!(world.record(id, &claimed, succeed()).await);
    assert_eq!(world.prune_all().await, 1);
    let standing = world.lost(id, 1).await;
    assert_eq!((standing.state, standing.dispatch), (State::Succeeded, 1));
    assert!(!world.store.restore(world.process, &message).await.unwrap());
    assert_eq!(world.store.tally().await.unwrap().live, 0);
    world.close().await;
}

/// A key is free again a day after its submission, if its job is gone by then.
#[tokio::test]
async fn a_key_ends_a_day_after_its_job_is_gone() {
    let (world, mut connection) = world().await;
    let keyed = || NewJob {
        unique: Some(UniqueKey {
            scope: "app".to_owned(),
            key: "order-1".to_owned(),
            fingerprint: vec![1],
        }),
        ..new_job()
    };
    let first = world.ended(keyed(), succeed()).await;
    let yesterday = "UPDATE longshore.unique_key SET created_at = created_at - interval '25 hours'";
    execute(&mut connection, yesterday.to_owned()).await;
    assert_eq!(prune(&world).await, 0);
    let again = world.insert(&[keyed()]).await;
    assert_eq!(
        again.jobs,
        [Inserted::Replayed { id: first }],
        "it has its job"
    );
    assert_eq!(world.prune_all().await, 1);
    world.accept(&[keyed()]).await;
    world.close().await;
}

#[tokio::test]
async fn what_a_forgotten_process_counted_stays_counted() {
    let (world, mut connection) = world().await;
    let other = world.register("host/2").await;
    world.store.insert(other, &new_jobs(5), LONG).await.unwrap();
    world.store.retire(other).await.unwrap();
    let long_ago = "UPDATE longshore.process SET ended_at = now() - interval '10 days'
                    WHERE ended_at IS NOT NULL";
    execute(&mut connection, long_ago.to_owned()).await;
    let before = world.store.tally().await.unwrap();
    assert_eq!(prune(&world).await, 0);
    let known: Vec<i64> = sqlx::query_scalar("SELECT id FROM longshore.process")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(known, [world.process.0]);
    assert_eq!(world.store.tally().await.unwrap(), before);
    world.close().await;
}
