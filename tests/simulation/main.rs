//! The real runtime on a simulated store and broker, under faults that a seed chooses.
//!
//! ```text
//! cargo test --test simulation                          thousands of seeds
//! SIM_SEED=42 cargo test --test simulation one -- --nocapture   one of them, with its trace
//! SIM_SEEDS=1000000 cargo test --release --test simulation seeds    as many as wanted
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod broker;
mod jobs;
mod ledger;
mod machines;
mod plan;
mod process;
mod rng;
mod run;
mod store;
mod trace;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::{Verdict, simulate};
use world::Bug;

/// Seeds of every test run.
const SEEDS: u64 = 2_000;
/// Seeds that once failed.
const REGRESSIONS: &[u64] = &[];

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn explain(verdict: &Verdict) -> String {
    format!(
        "seed {}: {}\n  replay: SIM_SEED={} cargo test --test simulation one -- --nocapture",
        verdict.seed,
        verdict.violations.join("\n    "),
        verdict.seed
    )
}

/// Simulates seeds on every core until one of them satisfies `enough`.
fn search(seeds: std::ops::Range<u64>, bug: Option<Bug>) -> (Vec<Verdict>, u64) {
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(Vec::new());
    let ended = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.lock().unwrap().len() >= 5 {
                        return;
                    }
                    let verdict = simulate(seed, bug, false);
                    ended.fetch_add(1, Ordering::Relaxed);
                    if !verdict.violations.is_empty() {
                        let mut failed = failed.lock().unwrap();
                        failed.push(verdict);
                        if bug.is_some() {
                            next.store(seeds.end, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    (failed.into_inner().unwrap(), ended.into_inner())
}

#[test]
fn seeds_keep_every_promise() {
    let first = number("SIM_FIRST").unwrap_or(0);
    let count = number("SIM_SEEDS").unwrap_or(SEEDS);
    let (failed, ended) = search(first..first + count, None);
    println!("{ended} seeds");
    let texts: Vec<String> = failed.iter().map(explain).collect();
    assert!(failed.is_empty(), "\n{}", texts.join("\n"));
}

#[test]
fn one_seed_is_replayed() {
    let seed = number("SIM_SEED").unwrap_or(1);
    let verdict = simulate(seed, None, true);
    for line in &verdict.lines {
        println!("{line}");
    }
    assert!(verdict.violations.is_empty(), "\n{}", explain(&verdict));
}

#[test]
fn a_seed_always_does_the_same() {
    for seed in 0..60 {
        let (first, second) = (simulate(seed, None, false), simulate(seed, None, true));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!(first.took, second.took, "seed {seed}");
    }
}

#[test]
fn what_once_failed_holds() {
    for seed in REGRESSIONS {
        let verdict = simulate(*seed, None, false);
        assert!(verdict.violations.is_empty(), "\n{}", explain(&verdict));
    }
}

/// A known mistake, and the seeds among which one must show it.
const MISTAKES: &[(Bug, u64)] = &[
    (Bug::NoEpochCheck, 2_000),
    (Bug::NoDispatchCheck, 2_000),
    (Bug::AcknowledgeFirst, 100),
    (Bug::PublishFirst, 100),
    (Bug::UnfencedRescue, 3_000),
    (Bug::DoubleLease, 2_000),
    (Bug::NoRepublish, 1_000),
    (Bug::CrashBurnsAttempt, 1_000),
    (Bug::UnfencedEffect, 3_000),
];

#[test]
fn known_mistakes_are_caught() {
    let mut missed = Vec::new();
    for (bug, within) in MISTAKES {
        let (failed, seeds) = search(0..*within, Some(*bug));
        match failed.first() {
            Some(verdict) => {
                println!("{bug:?} after {seeds}: {}", explain(verdict));
                // It is the mistake that shows, and no other.
                let without = simulate(verdict.seed, None, false);
                assert!(without.violations.is_empty(), "\n{}", explain(&without));
            }
            None => missed.push(*bug),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
