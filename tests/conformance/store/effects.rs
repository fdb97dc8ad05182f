use std::time::Duration;

use longshore::job::{Claimed, JobId, NewJob, State, Transition, UniqueKey};
use longshore::store::{Connection, Effect, Fence};
use serde_json::json;

use super::world::{
    LONG, World, at_once, eventually, job_after, new_job, published, retry, succeed,
};

pub(crate) fn fence(id: JobId, claimed: &Claimed) -> Fence {
    Fence {
        id,
        owner: claimed.owner,
        epoch: claimed.epoch,
    }
}

async fn begun(world: &World, id: JobId, claimed: &Claimed) -> Box<dyn Effect> {
    let effect = world.store.begin_effect(fence(id, claimed)).await.unwrap();
    effect.expect("the claim holds")
}

/// Runs a statement of a handler's own; the number of rows it touched.
async fn execute(effect: &mut Box<dyn Effect>, sql: &'static str) -> u64 {
    match effect.connection() {
        Connection::Postgres(db) => sqlx::query(sql).execute(db).await.unwrap().rows_affected(),
        Connection::Sqlite(db) => sqlx::query(sql).execute(db).await.unwrap().rows_affected(),
        other => panic!("{other:?}"),
    }
}

/// How many effects were committed so far.
async fn effects(world: &World) -> u64 {
    let (id, claimed) = world.running().await;
    let mut effect = begun(world, id, &claimed).await;
    let rows = execute(&mut effect, "DELETE FROM effects").await;
    effect.roll_back().await;
    assert!(world.record(id, &claimed, succeed()).await);
    rows
}

/// A table as a handler might have one.
async fn table(world: &World) {
    let (id, claimed) = world.running().await;
    let mut effect = begun(world, id, &claimed).await;
    execute(&mut effect, "CREATE TABLE effects (n integer)").await;
    assert!(effect.succeed(None, &[]).await.unwrap());
    effect.commit().await.unwrap();
    assert_eq!(world.view(id).await.state, State::Succeeded);
}

const EFFECT: &str = "INSERT INTO effects VALUES (1)";

pub(crate) async fn effect_and_success_commit_together(world: &World) {
    table(world).await;
    let (id, claimed) = world.running().await;
    let mut effect = begun(world, id, &claimed).await;
    execute(&mut effect, EFFECT).await;
    let result = json!({"text": "größer \u{0}", "list": [1.5, null]});
    assert!(effect.succeed(Some(&result), &[]).await.unwrap());
    effect.commit().await.unwrap();
    let view = world.view(id).await;
    assert_eq!((view.state, view.attempt), (State::Succeeded, 1));
    let kept: serde_json::Value = serde_json::from_str(view.result.unwrap().get()).unwrap();
    assert_eq!(kept, result);
    assert_eq!(effects(world).await, 1);
    // It has ended: nothing is left to record, and no second transaction begins.
    assert!(!world.record(id, &claimed, Transition::HandBack).await);
    let again = world.store.begin_effect(fence(id, &claimed)).await.unwrap();
    assert!(again.is_none());
}

pub(crate) async fn what_is_not_committed_leaves_nothing(world: &World) {
    table(world).await;
    for way in 0..4 {
        let (id, claimed) = world.running().await;
        let mut effect = begun(world, id, &claimed).await;
        execute(&mut effect, EFFECT).await;
        if way >= 2 {
            let next = [new_job()];
            assert!(effect.succeed(None, &next).await.unwrap());
        }
        if way % 2 == 0 {
            effect.roll_back().await;
        } else {
            drop(effect);
        }
        // The row may still be locked by the connection that is being closed.
        assert!(world.record(id, &claimed, Transition::HandBack).await);
        assert_eq!(world.view(id).await.state, State::Queued, "way {way}");
        assert_eq!(effects(world).await, 0, "way {way}");
    }
    let tally = world.store.tally().await.unwrap();
    let accepted_by_the_test = 1 + 4 * 2;
    assert_eq!(tally.accepted, accepted_by_the_test, "{tally:?}");
}

pub(crate) async fn a_lost_claim_begins_nothing(world: &World) {
    let (id, claimed) = world.running().await;
    for (owner, epoch) in [
        (claimed.owner.0 + 1, claimed.epoch),
        (claimed.owner.0, claimed.epoch + 1),
        (claimed.owner.0, claimed.epoch - 1),
    ] {
        let stale = Fence {
            id,
            owner: longshore::job::ProcessId(owner),
            epoch,
        };
        assert!(world.store.begin_effect(stale).await.unwrap().is_none());
    }
    assert!(world.record(id, &claimed, retry(LONG)).await);
    let ended = world.store.begin_effect(fence(id, &claimed)).await.unwrap();
    assert!(ended.is_none());
}

/// A process is taken for dead while its handler is in the middle of a transaction.
pub(crate) async fn a_zombie_commits_nothing(world: &World) {
    table(world).await;
    let zombie = world.register("host/2").await;
    let id = world.queued().await;
    let longshore::store::Claim::Won(claimed) = world.claim(zombie, id, 1).await else {
        panic!("free");
    };
    // Where one transaction at a time may write, nobody can be buried behind a handler's back:
    // the burial comes before the transaction, or after it.
    let on_sqlite = world.store.version().await.unwrap().starts_with("SQLite");
    if !on_sqlite {
        let mut effect = begun(world, id, &claimed).await;
        execute(&mut effect, EFFECT).await;
        let counter = world.counter(zombie).await;
        assert_eq!(world.store.bury(zombie, counter).await.unwrap(), Some(1));
        assert!(!effect.succeed(None, &[new_job()]).await.unwrap());
        // Even were it committed by mistake, nothing of the job's would be in it.
        effect.roll_back().await;
    } else {
        let counter = world.counter(zombie).await;
        assert_eq!(world.store.bury(zombie, counter).await.unwrap(), Some(1));
    }
    assert!(
        world
            .store
            .begin_effect(fence(id, &claimed))
            .await
            .unwrap()
            .is_none()
    );
    let heir = world.won(id, 1).await;
    assert_eq!((heir.crashes, heir.epoch), (1, claimed.epoch + 1));
    assert!(
        world
            .store
            .begin_effect(fence(id, &claimed))
            .await
            .unwrap()
            .is_none()
    );
    let mut effect = begun(world, id, &heir).await;
    execute(&mut effect, EFFECT).await;
    assert!(effect.succeed(None, &[]).await.unwrap());
    effect.commit().await.unwrap();
    assert_eq!(effects(world).await, 1);
}

/// From `succeed` on the claim cannot be lost: the burial waits for the commit.
pub(crate) async fn a_burial_waits_for_a_commit_that_has_begun(world: &World) {
    table(world).await;
    let doomed = world.register("host/2").await;
    let id = world.queued().await;
    let longshore::store::Claim::Won(claimed) = world.claim(doomed, id, 1).await else {
        panic!("free");
    };
    let counter = world.counter(doomed).await;
    let mut effect = begun(world, id, &claimed).await;
    execute(&mut effect, EFFECT).await;
    assert!(effect.succeed(None, &[]).await.unwrap());
    let elsewhere = world.elsewhere().await;
    let burial = {
        let store = elsewhere.clone();
        tokio::spawn(async move { store.bury(doomed, counter).await })
    };
    // Time to overtake, if it could.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!burial.is_finished());
    effect.commit().await.unwrap();
    assert_eq!(burial.await.unwrap().unwrap(), Some(0), "nothing to rescue");
    assert_eq!(world.view(id).await.state, State::Succeeded);
    assert_eq!(effects(world).await, 1);
    elsewhere.close().await;
}

/// The reply to a commit was lost: a hand-back under the same fence tells whether it took.
pub(crate) async fn a_hand_back_finds_out_about_a_commit(world: &World) {
    table(world).await;
    for took in [true, false] {
        let (id, claimed) = world.running().await;
        let mut effect = begun(world, id, &claimed).await;
        execute(&mut effect, EFFECT).await;
        assert!(effect.succeed(None, &[]).await.unwrap());
        let store = world.elsewhere().await;
        let record = super::world::record(id, &claimed, Transition::HandBack);
        let hand_back = {
            let store = store.clone();
            tokio::spawn(async move { store.record(&[record]).await })
        };
        // Asked while the outcome is open, it must wait for it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!hand_back.is_finished());
        if took {
            effect.commit().await.unwrap();
        } else {
            drop(effect);
        }
        assert_eq!(hand_back.await.unwrap().unwrap(), [!took]);
        let state = world.view(id).await.state;
        assert_eq!(state == State::Succeeded, took);
        store.close().await;
    }
    assert_eq!(effects(world).await, 1);
}

pub(crate) async fn next_jobs_exist_if_and_only_if_it_succeeds(world: &World) {
    let (id, claimed) = world.running().await;
    let next = [new_job(), job_after(LONG)];
    let mut effect = begun(world, id, &claimed).await;
    assert!(effect.succeed(None, &next).await.unwrap());
    effect.commit().await.unwrap();
    assert_eq!(world.view(next[0].id).await.state, State::Queued);
    assert_eq!(world.view(next[1].id).await.state, State::Scheduled);
    let entries = eventually(async || Some(world.leased().await).filter(|e| !e.is_empty())).await;
    assert_eq!(published(&entries[0].publications), [(next[0].id, 1)]);
    let (id, claimed) = world.running().await;
    let mut effect = begun(world, id, &claimed).await;
    let never = [new_job()];
    assert!(effect.succeed(None, &never).await.unwrap());
    drop(effect);
    assert!(world.record(id, &claimed, succeed()).await);
    assert!(world.store.job(never[0].id).await.unwrap().is_none());
}

pub(crate) async fn a_key_makes_next_jobs_one(world: &World) {
    let keyed = || NewJob {
        unique: Some(UniqueKey {
            scope: "next:email.send".to_owned(),
            key: "receipt:7".to_owned(),
            fingerprint: vec![1],
        }),
        ..new_job()
    };
    let mut accepted = Vec::new();
    for _ in 0..3 {
        let (id, claimed) = world.running().await;
        let next = keyed();
        let mut effect = begun(world, id, &claimed).await;
        assert!(
            effect
                .succeed(None, std::slice::from_ref(&next))
                .await
                .unwrap()
        );
        effect.commit().await.unwrap();
        accepted.push(world.store.job(next.id).await.unwrap().is_some());
    }
    assert_eq!(accepted, [true, false, false]);
}

/// Many handlers at once, each holding a row that all want, beside outcomes and claims of the
/// platform's own: all get through.
pub(crate) async fn handlers_at_once_all_get_through(world: &World) {
    table(world).await;
    let (id, claimed) = world.running().await;
    let mut effect = begun(world, id, &claimed).await;
    execute(&mut effect, EFFECT).await;
    assert!(effect.succeed(None, &[]).await.unwrap());
    effect.commit().await.unwrap();
    let process = world.process;
    let ended = at_once(world, 40, |store, _| async move {
        let job = new_job();
        let next = new_job();
        store
            .insert(process, std::slice::from_ref(&job), LONG)
            .await
            .unwrap();
        let request = longshore::store::ClaimRequest {
            id: job.id,
            dispatch: 1,
            over_epoch: None,
        };
        let claims = store.claim(process, &[request]).await.unwrap();
        let longshore::store::Claim::Won(claimed) = &claims[0] else {
            panic!("free");
        };
        let begun = store.begin_effect(fence(job.id, claimed)).await.unwrap();
        let mut effect = begun.expect("the claim holds");
        execute(&mut effect, "UPDATE effects SET n = n + 1").await;
        assert!(effect.succeed(None, &[next]).await.unwrap());
        effect.commit().await.unwrap();
        job.id
    })
    .await;
    for id in ended {
        assert_eq!(world.view(id).await.state, State::Succeeded);
    }
    let (id, claimed) = world.running().await;
    let mut effect = begun(world, id, &claimed).await;
    let all = execute(&mut effect, "DELETE FROM effects WHERE n = 41").await;
    assert_eq!(all, 1, "each added one");
    effect.roll_back().await;
    assert!(world.record(id, &claimed, succeed()).await);
}

pub(crate) async fn a_step_commits_while_the_job_goes_on(world: &World) {
    table(world).await;
    let (id, claimed) = world.running().await;
    let mut step = begun(world, id, &claimed).await;
    execute(&mut step, EFFECT).await;
    assert!(step.hold().await.unwrap());
    step.commit().await.unwrap();
    assert_eq!(world.view(id).await.state, State::Running);
    assert_eq!(effects(world).await, 1);
    let mut end = begun(world, id, &claimed).await;
    execute(&mut end, EFFECT).await;
    assert!(end.succeed(None, &[]).await.unwrap());
    end.commit().await.unwrap();
    assert_eq!(world.view(id).await.state, State::Succeeded);
    assert_eq!(effects(world).await, 2);
    if world.store.version().await.unwrap().starts_with("SQLite") {
        // Nobody can take the job away while the only writer is held.
        return;
    }
    let zombie = world.register("host/3").await;
    let id = world.queued().await;
    let longshore::store::Claim::Won(claimed) = world.claim(zombie, id, 1).await else {
        panic!("free");
    };
    let mut step = begun(world, id, &claimed).await;
    execute(&mut step, EFFECT).await;
    let counter = world.counter(zombie).await;
    assert_eq!(world.store.bury(zombie, counter).await.unwrap(), Some(1));
    assert!(!step.hold().await.unwrap());
    step.roll_back().await;
    assert_eq!(effects(world).await, 2);
}
