use std::time::Duration;

use longshore::job::Transition;
use longshore::store::{Claim, ClaimRequest, Schema, StoreError};

use super::super::backend::Backend;
use super::super::postgres::PostgresDatabase;
use super::super::world::{LONG, die, new_jobs, patiently, record, retry, succeed};
use super::{execute, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_migrators_at_once_are_one() {
    let database = PostgresDatabase::create().await;
    let mut ran = Vec::new();
    for _ in 0..8 {
        let store = database.open().await;
        ran.push(tokio::spawn(async move {
            let ran = store.migrate().await;
            assert_eq!(store.schema().await.unwrap(), Schema::Current);
            store.close().await;
            ran.unwrap()
        }));
    }
    let mut migrations = 0;
    for ran in ran {
        migrations += ran.await.unwrap();
    }
    let mut connection = database.connect().await;
    let applied: i64 = sqlx::query_scalar("SELECT count(*) FROM longshore.migration")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(i64::try_from(migrations).unwrap(), applied);
    database.destroy().await;
}

#[tokio::test]
async fn a_newer_schema_is_told_and_left_alone() {
    let (world, mut connection) = world().await;
    let newer = "INSERT INTO longshore.migration VALUES (999, 'from the future', now())";
    execute(&mut connection, newer.to_owned()).await;
    let schema = world.store.schema().await.unwrap();
    assert_eq!(schema, Schema::Newer { version: 999 });
    let refused = world.store.migrate().await.unwrap_err();
    assert!(matches!(refused, StoreError::Schema(_)), "{refused:?}");
    world.close().await;
}

/// Whichever comes first, no job stays `running` for a buried process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_claim_slips_in_behind_a_burial() {
    let (world, mut connection) = world().await;
    let elsewhere = world.elsewhere().await;
    let (mut before, mut behind) = (0, 0);
    for round in 0..150 {
        let doomed = world.register("host/2").await;
        let jobs = new_jobs(8);
        world.accept(&jobs).await;
        let claims = jobs.chunks(2).map(|pair| {
            let requests: Vec<_> = pair
                .iter()
                .map(|job| ClaimRequest {
                    id: job.id,
                    dispatch: 1,
                    over_epoch: None,
                })
                .collect();
            let store = world.store.clone();
            async move { patiently(|| store.claim(doomed, &requests)).await }
        });
        let burial = async {
            // Spread over the claims: early in one round, late in another.
            tokio::time::sleep(Duration::from_micros(100 * (round % 20))).await;
            patiently(|| elsewhere.bury(doomed, 0)).await
        };
        let (claims, rescued) = tokio::join!(futures::future::join_all(claims), burial);
        let won = claims
            .concat()
            .iter()
            .filter(|claim| matches!(claim, Claim::Won(_)))
            .count() as u64;
        assert_eq!(rescued, Some(won), "all that was claimed was rescued");
        assert!(world.store.owned(doomed).await.unwrap().is_empty());
        before += won;
        behind += 8 - won;
    }
    let orphans: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM longshore.live l JOIN longshore.process p ON p.id = l.owner
         WHERE p.state <> 0",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(orphans, 0);
    assert!(
        before > 0 && behind > 0,
        "no race: {before} before, {behind} behind"
    );
    elsewhere.close().await;
    world.close().await;
}

/// Burials, outcomes and promotions of the same rows, all at once and in every order: whoever
/// deadlocks is told, repeats, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_and_burials_at_once_lose_nothing() {
    let (world, _connection) = world().await;
    let elsewhere = world.elsewhere().await;
    for _ in 0..25 {
        let doomed = world.register("host/2").await;
        let jobs = new_jobs(12);
        world.accept(&jobs).await;
        let requests: Vec<_> = jobs
            .iter()
            .map(|job| ClaimRequest {
                id: job.id,
                dispatch: 1,
                over_epoch: None,
            })
            .collect();
        let claims = world.store.claim(doomed, &requests).await.unwrap();
        let ends = [succeed(), retry(LONG), die("x"), Transition::HandBack];
        let mut records = Vec::new();
        for (n, (job, claim)) in jobs.iter().zip(&claims).enumerate() {
            let Claim::Won(claimed) = claim else {
                panic!("{claim:?}");
            };
            records.push(record(job.id, claimed, ends[n % 4].clone()));
        }
        records.reverse();
        let (written, rescued) = tokio::join!(
            patiently(|| world.store.record(&records)),
            patiently(|| elsewhere.bury(doomed, 0))
        );
        let written = written.into_iter().filter(|written| *written).count() as u64;
        assert_eq!(written + rescued.unwrap(), 12);
    }
    world.prune_all().await;
    elsewhere.close().await;
    world.close().await;
}
