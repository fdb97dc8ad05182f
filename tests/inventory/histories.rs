//! Thousands of jobs at once, with duplicates of deliveries, zombies and runs that die anywhere:
//! after it, and at every moment of it, the stock adds up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore::job::{ErrorClass, JobError, Transition};
use longshore::store::Fence;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::handlers::on_both;
use crate::inventory::{self, AdjustStock, Request, ReserveStock, Stop, perform};
use crate::rules::{adjust, reserve};
use crate::site::{Bench, Place};

const SKUS: [&str; 4] = ["cup", "pot", "spoon", "tea"];
const ORDERS: u32 = 40;

/// What a job is for.
#[derive(Debug, Clone)]
enum Errand {
    Adjust(AdjustStock),
    Reserve(ReserveStock),
    Commit(String),
    Release(String),
}

impl Errand {
    fn any(random: &mut StdRng) -> Self {
        let sku = |random: &mut StdRng| SKUS[random.random_range(0..SKUS.len())];
        let order = format!("order-{}", random.random_range(0..ORDERS));
        match random.random_range(0..10) {
            0..2 => Self::Adjust(adjust(sku(random), random.random_range(1..40))),
            2 => Self::Adjust(adjust(sku(random), -random.random_range(1..20))),
            3..7 => {
                let mut items = BTreeMap::new();
                for _ in 0..random.random_range(1..4) {
                    items.insert(sku(random), random.random_range(1..6));
                }
                let mut items: Vec<(&str, i64)> = items.into_iter().collect();
                // In any order: it is the worker that sorts.
                items.reverse();
                let brief = random.random_ratio(1, 3);
                Self::Reserve(reserve(&order, &items, if brief { "1s" } else { "1h" }))
            }
            7..9 => Self::Commit(order),
            _ => Self::Release(order),
        }
    }

    fn request(&self) -> Request<'_> {
        match self {
            Self::Adjust(wanted) => Request::Adjust(wanted),
            Self::Reserve(wanted) => Request::Reserve(wanted),
            Self::Commit(order) => Request::Commit(order),
            Self::Release(order) => Request::Release(order),
        }
    }
}

/// Units that came and went, by what the jobs' own results say.
type Expected = BTreeMap<String, i64>;

/// One worker process: takes jobs one after the other, and comes to grief at random.
async fn work(bench: Arc<Bench>, heir: Arc<Bench>, jobs: usize, seed: u64) -> Expected {
    let mut random = StdRng::seed_from_u64(seed);
    let mut expected = Expected::new();
    for _ in 0..jobs {
        let errand = Errand::any(&mut random);
        let mut fence = bench.running("inventory.test").await;
        while random.random_ratio(1, 4) {
            fence = misfortune(&bench, &heir, fence, &errand, random.random_range(0..3)).await;
        }
        if let Some(result) = run(&bench, fence, &errand).await {
            book(&mut expected, &errand, &result);
        }
        // The message comes a second time, or a zombie wakes.
        assert!(bench.store.begin_effect(fence).await.unwrap().is_none());
        assert!(!bench.record(fence, Transition::HandBack).await);
    }
    expected
}

/// Runs a job to its end; its result if it succeeded.
async fn run(bench: &Bench, fence: Fence, errand: &Errand) -> Option<Value> {
    loop {
        let mut effect = bench.store.begin_effect(fence).await.unwrap().unwrap();
        match perform(effect.connection(), fence.id, errand.request()).await {
            Ok(result) => {
                assert!(effect.succeed(Some(&result), &[]).await.unwrap());
                effect.commit().await.unwrap();
                return Some(result);
            }
            Err(Stop::Refused(refusal)) => {
                effect.roll_back().await;
                let error = JobError::new(ErrorClass::Permanent, "refused", &refusal.to_string());
                assert!(bench.record(fence, Transition::Die { error }).await);
                return None;
            }
            Err(Stop::Freed) => {
                assert!(effect.hold().await.unwrap());
                effect.commit().await.unwrap();
            }
            Err(Stop::Database(error)) => panic!("{errand:?}: {error}"),
        }
    }
}

/// A run that comes to nothing, in one of three ways; the job's next claim.
async fn misfortune(bench: &Bench, heir: &Bench, fence: Fence, errand: &Errand, way: u32) -> Fence {
    let mut effect = bench.store.begin_effect(fence).await.unwrap().unwrap();
    let result = perform(effect.connection(), fence.id, errand.request()).await;
    match (way, result) {
        // It dies in the middle.
        (0, _) | (_, Err(_)) => drop(effect),
        // It dies between the lock and the commit.
        (1, Ok(result)) => {
            assert!(effect.succeed(Some(&result), &[]).await.unwrap());
            drop(effect);
        }
        // It is taken for dead, and the job is claimed elsewhere, before it would end it. (On
        // SQLite it is the only writer as long as it is at it: it loses its transaction first,
        // and wakes to end the job in a new one.)
        (_, Ok(result)) if on_sqlite(bench).await => {
            effect.roll_back().await;
            assert!(heir.record(fence, Transition::HandBack).await);
            let next = bench.claimed(fence.id).await;
            assert!(bench.store.begin_effect(fence).await.unwrap().is_none());
            let end = Transition::Succeed {
                result: Some(result),
            };
            assert!(!bench.record(fence, end).await);
            return next;
        }
        (_, Ok(result)) => {
            assert!(heir.record(fence, Transition::HandBack).await);
            let next = bench.claimed(fence.id).await;
            assert!(!effect.succeed(Some(&result), &[]).await.unwrap());
            effect.roll_back().await;
            return next;
        }
    }
    assert!(heir.record(fence, Transition::HandBack).await);
    bench.claimed(fence.id).await
}

async fn on_sqlite(bench: &Bench) -> bool {
    bench.store.version().await.unwrap().starts_with("SQLite")
}

fn book(expected: &mut Expected, errand: &Errand, result: &Value) {
    if result["already"] == true {
        return;
    }
    match errand {
        Errand::Adjust(wanted) => *expected.entry(wanted.sku.clone()).or_default() += wanted.delta,
        Errand::Commit(_) => {
            for item in result["items"].as_array().unwrap() {
                let sku = item["sku"].as_str().unwrap().to_owned();
                *expected.entry(sku).or_default() -= item["quantity"].as_i64().unwrap();
            }
        }
        Errand::Reserve(_) | Errand::Release(_) => {}
    }
}

/// Looks at one moment after the other until told to stop.
async fn watch(bench: Arc<Bench>, stop: Arc<AtomicBool>) -> usize {
    let mut looks = 0;
    while !stop.load(Ordering::Relaxed) {
        let found = bench.store.differences(&inventory::BALANCE).await.unwrap();
        assert_eq!(found, Vec::<String>::new());
        looks += 1;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    looks
}

async fn the_stock_adds_up_whatever_happens(place: Place) {
    let seed: u64 = std::env::var("LONGSHORE_TEST_SEED")
        .map_or_else(|_| rand::rng().random(), |text| text.parse().unwrap());
    eprintln!("LONGSHORE_TEST_SEED={seed}");
    let (workers, jobs) = match place {
        Place::Postgres(_) => (8, 300),
        Place::Sqlite(_) => (4, 600),
    };
    let one = Arc::new(Bench::open(&place, inventory::TABLES).await);
    let two = Arc::new(Bench::open(&place, inventory::TABLES).await);
    let stop = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(two.clone(), stop.clone()));
    let tasks: Vec<_> = (0..workers)
        .map(|n| {
            let pair = [one.clone(), two.clone()];
            let (mine, other) = (pair[n % 2].clone(), pair[1 - n % 2].clone());
            tokio::spawn(work(mine, other, jobs, seed.wrapping_add(n as u64)))
        })
        .collect();
    let mut expected = Expected::new();
    for task in tasks {
        for (sku, units) in task.await.unwrap() {
            *expected.entry(sku).or_default() += units;
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(watching.await.unwrap() > 3, "looked too seldom");
    verify(&one, &expected, seed).await;
    one.store.close().await;
    two.store.close().await;
}

async fn verify(bench: &Bench, expected: &Expected, seed: u64) {
    let found = bench.store.differences(&inventory::BALANCE).await.unwrap();
    assert_eq!(found, Vec::<String>::new(), "seed {seed}");
    let on_hand = bench
        .ask(
            "SELECT sku || ' ' || on_hand FROM longshore.stock ORDER BY sku",
            "SELECT sku || ' ' || on_hand FROM stock ORDER BY sku",
        )
        .await;
    let wanted: Vec<String> = expected
        .iter()
        .map(|(sku, units)| format!("{sku} {units}"))
        .collect();
    assert_eq!(on_hand, wanted, "seed {seed}: what the jobs' results say");
    // Without the product's own query.
    let reserved = bench
        .ask(
            "SELECT s.sku || ' ' || s.reserved FROM longshore.stock s WHERE s.reserved <> (
                 SELECT COALESCE(sum(quantity), 0) FROM longshore.reservations r
                 WHERE r.sku = s.sku AND r.state = 'open')",
            "SELECT s.sku || ' ' || s.reserved FROM stock s WHERE s.reserved <> (
                 SELECT coalesce(sum(quantity), 0) FROM reservations r
                 WHERE r.sku = s.sku AND r.state = 'open')",
        )
        .await;
    assert_eq!(
        reserved,
        Vec::<String>::new(),
        "seed {seed}: reserved is what is open"
    );
    // Whose work every movement is. Who frees what has expired commits that before it knows whether
    // there is enough, and may be refused.
    let strangers = bench
        .ask(
            "SELECT m.id::text FROM longshore.movements m WHERE m.kind <> 'expire' AND NOT EXISTS (
                 SELECT FROM longshore.done d WHERE d.id = m.job AND d.state = 4)",
            "SELECT CAST(m.id AS text) FROM movements m WHERE m.kind <> 'expire' AND NOT EXISTS (
                 SELECT 1 FROM job j WHERE j.id = m.job AND j.state = 4)",
        )
        .await;
    assert_eq!(strangers, Vec::<String>::new(), "seed {seed}");
    let kinds = bench
        .ask(
            "SELECT DISTINCT kind FROM longshore.movements ORDER BY kind",
            "SELECT DISTINCT kind FROM movements ORDER BY kind",
        )
        .await;
    assert_eq!(
        kinds,
        ["adjust", "commit", "expire", "release", "reserve"],
        "seed {seed}: all of it happened"
    );
    let tally = bench.store.tally().await.unwrap();
    assert_eq!((tally.missing(), tally.live), (0, 0), "{tally:?}");
}

on_both!(the_stock_adds_up_whatever_happens);
