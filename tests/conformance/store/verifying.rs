//! The balance sheet, and what is told of rows that were changed by hand.

use longshore::job::JobId;
use longshore::store::{Balance, Check, Sheet, Sums};

use super::world::{LONG, World, ZERO, die, job_after, new_job, new_jobs, retry, succeed};

async fn sheet(world: &World) -> Sheet {
    world.store.sheet(&[], &[], 3).await.unwrap()
}

fn check<'s>(sheet: &'s Sheet, name: &str) -> &'s Check {
    sheet
        .checks
        .iter()
        .find(|check| check.name == name)
        .unwrap()
}

fn tells(sheet: &Sheet, name: &str, id: JobId) -> bool {
    let differences = &check(sheet, name).differences;
    differences
        .iter()
        .any(|difference| difference.job == Some(id))
}

/// Changes rows by hand and expects one check to name the job; `both` puts things right again.
async fn named(world: &World, name: &str, id: JobId, change: (&str, &str), back: (&str, &str)) {
    let hex = id.to_string().replace('-', "");
    let fill = |text: &str| {
        text.replace("$id", &format!("'{id}'"))
            .replace("$hex", &format!("x'{hex}'"))
    };
    assert!(sheet(world).await.is_balanced(), "{:?}", sheet(world).await);
    world.tamper(&fill(change.0), &fill(change.1)).await;
    let seen = sheet(world).await;
    assert!(!seen.is_balanced(), "{change:?}");
    assert!(tells(&seen, name, id), "{change:?}: {seen:?}");
    world.tamper(&fill(back.0), &fill(back.1)).await;
}

pub(crate) async fn a_sheet_counts_by_queue_and_kind(world: &World) {
    world.ended(new_job(), succeed()).await;
    world.ended(new_job(), die("refused")).await;
    world.accept(&[job_after(LONG)]).await;
    world.running().await;
    world.queued().await;
    let seen = sheet(world).await;
    assert!(seen.is_balanced(), "{seen:?}");
    let jobs = seen.jobs;
    assert_eq!(
        (jobs.accepted, jobs.live, jobs.succeeded, jobs.dead),
        (5, 3, 1, 1)
    );
    assert_eq!(seen.kinds.len(), 1);
    assert_eq!(seen.kinds[0].kind, "email.send");
    assert_eq!(seen.kinds[0].states.values().sum::<u64>(), 5);
    assert_eq!(seen.queues[0].states, seen.kinds[0].states);
    let in_flight = &seen.in_flight[0];
    assert_eq!((in_flight.queued, in_flight.running), (1, 1));
    assert_eq!(in_flight.unpublished, 1, "nothing was confirmed");
    assert_eq!(seen.outbox.dispatches, 4);
    assert_eq!(world.store.in_flight().await.unwrap(), seen.in_flight);
}

pub(crate) async fn a_row_that_is_gone_is_named(world: &World) {
    let live = world.queued().await;
    let ended = world.ended(new_job(), retry(LONG)).await;
    // A job that is live has an entry in the outbox, one that has failed has an attempt.
    for id in [live, ended] {
        named(
            world,
            if world.is_sqlite().await {
                "jobs"
            } else {
                "rows"
            },
            id,
            (
                "CREATE TABLE kept AS SELECT * FROM longshore.live WHERE id = $id;
                 DELETE FROM longshore.live WHERE id = $id",
                "CREATE TABLE kept AS SELECT * FROM job WHERE id = $hex;
                 DELETE FROM job WHERE id = $hex",
            ),
            (
                "INSERT INTO longshore.live SELECT * FROM kept; DROP TABLE kept",
                "INSERT INTO job SELECT * FROM kept; DROP TABLE kept",
            ),
        )
        .await;
    }
    named(
        world,
        if world.is_sqlite().await {
            "attempts"
        } else {
            "rows"
        },
        ended,
        (
            "CREATE TABLE kept AS SELECT * FROM longshore.job WHERE id = $id;
             DELETE FROM longshore.job WHERE id = $id",
            "CREATE TABLE kept AS SELECT * FROM attempt WHERE job = $hex;
             DELETE FROM attempt WHERE job = $hex",
        ),
        (
            "INSERT INTO longshore.job SELECT * FROM kept; DROP TABLE kept",
            "INSERT INTO attempt SELECT * FROM kept; DROP TABLE kept",
        ),
    )
    .await;
}

/// The sums stay what they are; a dead letter is gone all the same.
pub(crate) async fn an_end_that_was_changed_is_named(world: &World) {
    let dead = world.ended(new_job(), die("refused")).await;
    let succeeded = world.ended(new_job(), succeed()).await;
    for (id, from, to) in [(dead, 5, 4), (succeeded, 4, 5)] {
        let change = |state: u8| {
            (
                format!("UPDATE longshore.done SET state = {state} WHERE id = $id"),
                format!("UPDATE job SET state = {state} WHERE id = $hex"),
            )
        };
        let (there, back) = (change(to), change(from));
        let (there, back) = ((&*there.0, &*there.1), (&*back.0, &*back.1));
        named(world, "ends", id, there, back).await;
    }
}

/// Whatever became of the job since.
pub(crate) async fn a_failure_that_is_gone_is_named(world: &World) {
    let (id, claimed) = world.running().await;
    assert!(world.record(id, &claimed, retry(ZERO)).await);
    world.promoted().await;
    let due = world.won(id, 2).await;
    assert!(world.record(id, &due, succeed()).await);
    named(
        world,
        "attempts",
        id,
        (
            "CREATE TABLE kept AS SELECT * FROM longshore.attempt WHERE id = $id;
             DELETE FROM longshore.attempt WHERE id = $id",
            "CREATE TABLE kept AS SELECT * FROM attempt WHERE job = $hex;
             DELETE FROM attempt WHERE job = $hex",
        ),
        (
            "INSERT INTO longshore.attempt SELECT * FROM kept; DROP TABLE kept",
            "INSERT INTO attempt SELECT * FROM kept; DROP TABLE kept",
        ),
    )
    .await;
}

pub(crate) async fn a_row_that_cannot_be_so_is_named(world: &World) {
    let (running, _) = world.running().await;
    named(
        world,
        "running",
        running,
        (
            "UPDATE longshore.process SET state = 1",
            "UPDATE process SET alive = 0",
        ),
        (
            "UPDATE longshore.process SET state = 0",
            "UPDATE process SET alive = 1",
        ),
    )
    .await;
    let queued = world.queued().await;
    named(
        world,
        "outbox",
        queued,
        (
            "UPDATE longshore.live SET dispatch = 0 WHERE id = $id",
            "UPDATE job SET dispatch = 0 WHERE id = $hex",
        ),
        (
            "UPDATE longshore.live SET dispatch = 1 WHERE id = $id",
            "UPDATE job SET dispatch = 1 WHERE id = $hex",
        ),
    )
    .await;
    let dead = world.ended(new_job(), die("refused")).await;
    named(
        world,
        "attempts",
        dead,
        (
            "UPDATE longshore.done SET failures = 5 WHERE id = $id",
            "UPDATE job SET failures = 5 WHERE id = $hex",
        ),
        (
            "UPDATE longshore.done SET failures = 1 WHERE id = $id",
            "UPDATE job SET failures = 1 WHERE id = $hex",
        ),
    )
    .await;
}

pub(crate) async fn what_is_not_named_is_counted(world: &World) {
    world.accept(&new_jobs(5)).await;
    world
        .tamper(
            "UPDATE longshore.live SET dispatch = 0",
            "UPDATE job SET dispatch = 0",
        )
        .await;
    let seen = sheet(world).await;
    let outbox = check(&seen, "outbox");
    assert_eq!((outbox.differences.len(), outbox.more), (3, 2));
    world
        .tamper(
            "UPDATE longshore.live SET dispatch = 1",
            "UPDATE job SET dispatch = 1",
        )
        .await;
}

pub(crate) async fn a_count_that_was_changed_is_told(world: &World) {
    world.queued().await;
    for (change, missing) in [
        ("accepted + 2", 2),
        ("accepted - 3", -1),
        ("accepted + 1", 0),
    ] {
        world
            .tamper(
                &format!("UPDATE longshore.tally SET accepted = {change}"),
                &format!("UPDATE tally SET accepted = {change}"),
            )
            .await;
        let seen = sheet(world).await;
        assert_eq!(seen.jobs.missing(), missing);
        assert_eq!(seen.is_balanced(), missing == 0, "{seen:?}");
        assert_eq!(check(&seen, "jobs").is_balanced(), missing == 0);
    }
}

/// A question that the database cannot answer spoils neither the others nor the snapshot.
pub(crate) async fn a_question_without_an_answer_is_told(world: &World) {
    let of = |name, query| Balance {
        name,
        postgres: query,
        sqlite: query,
    };
    let balances = [
        of("broken", "SELECT nothing FROM nowhere"),
        of("wrong", "SELECT 'it is wrong'"),
        of("right", "SELECT 'x' WHERE false"),
    ];
    let sums = [Sums {
        name: "right",
        postgres: "SELECT 'apples', 7::bigint",
        sqlite: "SELECT 'apples', 7",
    }];
    let seen = world.store.sheet(&balances, &sums, 3).await.unwrap();
    assert!(check(&seen, "broken").unfinished.is_some(), "{seen:?}");
    assert_eq!(check(&seen, "wrong").differences[0].detail, "it is wrong");
    assert!(check(&seen, "right").is_balanced());
    let sum = &check(&seen, "right").sums[0];
    assert_eq!((&sum.of[..], sum.amount), ("apples", 7));
}
