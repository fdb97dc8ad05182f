//! How many instructions each hot part takes for one job, counted by callgrind: unlike a time that
//! does not depend on what else the machine does. `benches/hot/instructions.toml` says what they
//! may be and how to record them anew. Of a debug build, so that the suite builds nothing twice.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

#[path = "../benches/hot/parts.rs"]
mod parts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use serde::Deserialize;

const FILE: &str = "benches/hot/instructions.toml";
/// Makes this program count what it runs: rounds of each part.
const ROUNDS: &str = "LONGSHORE_TEST_ROUNDS";
/// Makes the test write what it finds instead of judging it.
const RECORD: &str = "LONGSHORE_TEST_RECORD";
/// Jobs that pass through each part, at least: enough for what is done once in a while.
const JOBS: usize = 30;

/// How far a count may be above what was recorded: what the seeds of hash tables and a C library
/// bring.
const TOLERANCE: f64 = 0.10;
/// The same where another compiler, or one for another processor, has made the program.
const TOLERANCE_ELSEWHERE: f64 = 0.30;

#[derive(Debug, Deserialize)]
struct Recorded {
    compiler: String,
    instructions: BTreeMap<String, u64>,
}

/// What callgrind looks for by its name: here it writes what was counted since it was here last.
#[inline(never)]
fn callgrind_writes_here() {
    std::hint::black_box(());
}

/// Each part some rounds, and twice as many: what is done once for all of them is in both. By
/// itself it sees that every part runs.
#[test]
fn every_part_runs() {
    let jobs = env::var(ROUNDS).map_or(1, |jobs| jobs.parse().unwrap());
    for mut part in parts::all() {
        let rounds = rounds(jobs, part.jobs);
        for rounds in [rounds, rounds, 2 * rounds] {
            for _ in 0..rounds {
                (part.round)();
            }
            callgrind_writes_here();
        }
    }
}

/// Of a part that takes so many jobs through at once.
fn rounds(jobs: usize, at_once: usize) -> usize {
    jobs.div_ceil(at_once)
}

/// The compiler that made this program, and for what.
fn compiler() -> String {
    let rustc = Path::new(env!("CARGO")).with_file_name("rustc");
    let output = Command::new(rustc).arg("--version").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    let version = version.split_whitespace().nth(1).unwrap_or("unknown");
    format!("rustc {version}, {}", env::consts::ARCH)
}

/// Instructions of one job in each part.
fn count() -> Vec<(&'static str, u64)> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("counts");
    let status = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--quiet",
            "--dump-before=*callgrind_writes_here*",
        ])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().unwrap())
        .args(["--exact", "every_part_runs", "--test-threads=1"])
        .env(ROUNDS, JOBS.to_string())
        .stdout(Stdio::null())
        .status();
    let status = status
        .unwrap_or_else(|error| panic!("valgrind: {error}; run `tests/run`, which installs it"));
    assert!(status.success(), "under valgrind: {status}");
    let mut dumps = (1..).map(|number| total(&out.with_extension(number.to_string())));
    let mut found = Vec::new();
    for part in parts::all() {
        let (_, once, twice) = (dumps.next(), dumps.next().unwrap(), dumps.next().unwrap());
        let jobs = rounds(JOBS, part.jobs) * part.jobs;
        found.push((part.name, (twice - once) / jobs as u64));
    }
    found
}

/// What a file of callgrind's adds up to.
fn total(file: &PathBuf) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
    line.unwrap().trim().parse().unwrap()
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE)
}

/// What is said about the counts stays as it is.
fn record(found: &[(&str, u64)]) {
    let text = fs::read_to_string(path()).unwrap();
    let head = text.lines().take_while(|line| line.starts_with('#'));
    let mut new: String = head.map(|line| format!("{line}\n")).collect();
    new += &format!("compiler = \"{}\"\n\n[instructions]\n", compiler());
    for (name, count) in found {
        new += &format!("\"{name}\" = {count}\n");
    }
    fs::write(path(), new).unwrap();
}

/// What is wrong with the counts.
fn judge(found: &[(&str, u64)], recorded: &Recorded, compiler: &str) -> Vec<String> {
    let same = recorded.compiler == compiler;
    let tolerance = if same { TOLERANCE } else { TOLERANCE_ELSEWHERE };
    let mut wrong = Vec::new();
    for (name, found) in found {
        match recorded.instructions.get(*name) {
            Some(was) if *found as f64 > *was as f64 * (1.0 + tolerance) => {
                let more = (*found as f64 / *was as f64 - 1.0) * 100.0;
                wrong.push(format!(
                    "{name}: {found} a job, {more:.0} % more than {was}"
                ));
            }
            Some(_) => {}
            None => wrong.push(format!("{name}: {found} a job, and nothing recorded")),
        }
    }
    let parts: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    let gone = recorded.instructions.keys();
    let gone = gone.filter(|name| !parts.contains(&name.as_str()));
    wrong.extend(gone.map(|name| format!("{name}: recorded, but no part any more")));
    if !same && !wrong.is_empty() {
        let were = &recorded.compiler;
        wrong.push(format!("(recorded with {were}; this is {compiler})"));
    }
    wrong
}

#[test]
fn no_part_takes_more_instructions_than_it_did() {
    let found = count();
    for (name, count) in &found {
        println!("{name}: {count}");
    }
    if env::var_os(RECORD).is_some() {
        return record(&found);
    }
    let recorded = toml::from_str(&fs::read_to_string(path()).unwrap()).unwrap();
    let wrong = judge(&found, &recorded, &compiler());
    assert!(
        wrong.is_empty(),
        "\n{}\nif that is meant: `tests/run --record-instructions`\n",
        wrong.join("\n"),
    );
}

#[test]
fn a_dearer_a_new_and_a_forgotten_part_are_told() {
    let text = "compiler = \"rustc 1, x\"\n[instructions]\n\"a\" = 1000\n\"b\" = 1000\n";
    let recorded: Recorded = toml::from_str(text).unwrap();
    let told = |found: &[(&str, u64)], compiler| judge(found, &recorded, compiler).join("; ");
    assert_eq!(told(&[("a", 1100), ("b", 10)], "rustc 1, x"), "");
    assert_eq!(
        told(&[("a", 1101), ("c", 5)], "rustc 1, x"),
        "a: 1101 a job, 10 % more than 1000; c: 5 a job, and nothing recorded; \
         b: recorded, but no part any more"
    );
    assert_eq!(told(&[("a", 1300), ("b", 1300)], "rustc 2, x"), "");
    assert_eq!(
        told(&[("a", 1301), ("b", 1)], "rustc 2, x"),
        "a: 1301 a job, 30 % more than 1000; (recorded with rustc 1, x; this is rustc 2, x)"
    );
}
