use std::time::Duration;

use longshore::job::{JobId, NewJob, UniqueKey};
use longshore::store::{Action, Inserted, Operated, Retention};

use super::super::importing::letter;
use super::super::world::{World, die, new_job, new_operation, published, step_by};
use super::{execute, world};

/// A pruning that leaves every job: only what outlived its use goes.
async fn keep_all(world: &World) {
    let year = Duration::from_secs(365 * 24 * 3600);
    let kept = Retention {
        queue: None,
        finished: year,
        dead: year,
    };
    assert_eq!(world.store.prune(&[], &kept).await.unwrap(), 0);
}

/// Whatever its age: a repetition that is under way at the purge is still recognised.
#[tokio::test]
async fn a_purged_jobs_key_lives_a_day_from_the_purge() {
    let (world, mut connection) = world().await;
    let keyed = || NewJob {
        unique: Some(UniqueKey {
            scope: "app".to_owned(),
            key: "order-1".to_owned(),
            fingerprint: vec![1],
        }),
        ..new_job()
    };
    let id = world.ended(keyed(), die("smtp_550")).await;
    let old = "UPDATE longshore.unique_key SET created_at = created_at - interval '2 days'";
    execute(&mut connection, old.to_owned()).await;
    let purge = new_operation(Action::Purge);
    world.store.begin(&purge).await.unwrap();
    world
        .store
        .advance(&step_by(10), Some(purge.id))
        .await
        .unwrap();
    assert_eq!(world.store.tally().await.unwrap().pruned, 1);
    keep_all(&world).await;
    let again = world.insert(&[keyed()]).await;
    assert_eq!(again.jobs, [Inserted::Replayed { id }]);
    let a_day = "UPDATE longshore.unique_key SET expires_at = expires_at - interval '1 day'";
    execute(&mut connection, a_day.to_owned()).await;
    keep_all(&world).await;
    world.accept(&[keyed()]).await;
    world.close().await;
}

/// A job that is imported again keeps its key as long as it lives.
#[tokio::test]
async fn an_imported_jobs_key_lives_as_long_as_it_does() {
    let (world, mut connection) = world().await;
    let keyed = || NewJob {
        unique: Some(UniqueKey {
            scope: "app".to_owned(),
            key: "order-1".to_owned(),
            fingerprint: vec![1],
        }),
        ..new_job()
    };
    let id = world.ended(keyed(), die("smtp_550")).await;
    let purge = new_operation(Action::Purge);
    world.store.begin(&purge).await.unwrap();
    let step = world.store.advance(&step_by(10), Some(purge.id)).await;
    assert_eq!(step.unwrap().unwrap().operation.done, 1);
    let back = world.store.import(&[letter(id)], "ada", "file").await;
    assert_eq!(back.unwrap(), [true]);
    let a_day = "UPDATE longshore.unique_key SET expires_at = expires_at - interval '2 days'";
    execute(&mut connection, a_day.to_owned()).await;
    keep_all(&world).await;
    let again = world.insert(&[keyed()]).await;
    assert_eq!(again.jobs, [Inserted::Replayed { id }]);
    world.close().await;
}

/// Sent back after the export, it has succeeded, and is no dead letter any more.
#[tokio::test]
async fn what_has_ended_otherwise_since_its_export_stays_gone() {
    let (world, mut connection) = world().await;
    let (succeeded, dead) = (JobId::new(), JobId::new());
    for (id, state) in [(succeeded, 4), (dead, 5)] {
        let pruned = "INSERT INTO longshore.tombstone (id, state, dispatch, epoch) VALUES";
        let pruned = format!("{pruned} ('{}', {state}, 3, 3)", id.uuid());
        execute(&mut connection, pruned).await;
    }
    let letters = [letter(succeeded), letter(dead)];
    let entered = world.store.import(&letters, "ada", "file").await;
    assert_eq!(entered.unwrap(), [false, true]);
    assert!(world.store.job(succeeded).await.unwrap().is_none());
    let entered = world.store.import(&letters, "ada", "file").await;
    assert_eq!(entered.unwrap(), [false, false]);
    assert_eq!(world.store.tally().await.unwrap().accepted, 1);
    world.close().await;
}

/// What a requeue cannot run it leaves where it is seen.
#[tokio::test]
async fn a_dead_job_without_its_payload_is_not_sent_back() {
    let (world, mut connection) = world().await;
    let broken = world.ended(new_job(), die("smtp_550")).await;
    let whole = world.ended(new_job(), die("smtp_550")).await;
    let kept = "CREATE TABLE kept AS SELECT * FROM longshore.job WHERE id = ";
    execute(&mut connection, format!("{kept}'{}'", broken.uuid())).await;
    let gone = format!("DELETE FROM longshore.job WHERE id = '{}'", broken.uuid());
    execute(&mut connection, gone).await;
    let operation = new_operation(Action::Requeue);
    world.store.begin(&operation).await.unwrap();
    let step = world.store.advance(&step_by(10), Some(operation.id)).await;
    let step = step.unwrap().unwrap();
    assert_eq!((step.operation.done, step.operation.failed), (1, 1));
    assert_eq!(published(&step.entry.unwrap().publications), [(whole, 2)]);
    let alone = world.store.requeue(broken, None, "ada").await.unwrap();
    assert_eq!(alone, Operated::Unknown);
    // It is there to be sent back when its payload is.
    let back = "INSERT INTO longshore.job SELECT * FROM kept; DROP TABLE kept";
    execute(&mut connection, back.to_owned()).await;
    let alone = world.store.requeue(broken, None, "ada").await.unwrap();
    assert_eq!(alone, Operated::Done);
    world.won(broken, 2).await;
    world.close().await;
}
