//! deny.toml holds: for the licences, the sources and the bans of everything in `Cargo.lock`,
//! and its exceptions are still needed. What it says of advisories only `cargo deny` can check,
//! with a database that is fetched.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use toml::Table;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Metadata = serde_json::from_slice(&output.stdout).unwrap();
    metadata.packages
}

fn deny() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

fn words<'a>(table: &'a Table, section: &str, key: &str) -> BTreeSet<&'a str> {
    let list = table[section][key].as_array().unwrap();
    list.iter().map(|word| word.as_str().unwrap()).collect()
}

/// True when the licences that are allowed satisfy an SPDX expression, or the older `A/B`.
fn permits(allowed: &BTreeSet<&str>, expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let (answer, rest) = alternatives(allowed, &tokens);
    assert!(rest.is_empty(), "not understood: {expression}");
    answer
}

/// `a OR b …`; `AND` binds tighter.
fn alternatives<'a>(allowed: &BTreeSet<&str>, tokens: &'a [&'a str]) -> (bool, &'a [&'a str]) {
    let (mut answer, mut rest) = requirements(allowed, tokens);
    while let ["OR", after @ ..] = rest {
        let (other, remaining) = requirements(allowed, after);
        (answer, rest) = (answer || other, remaining);
    }
    (answer, rest)
}

fn requirements<'a>(allowed: &BTreeSet<&str>, tokens: &'a [&'a str]) -> (bool, &'a [&'a str]) {
    let (mut answer, mut rest) = licence(allowed, tokens);
    while let ["AND", after @ ..] = rest {
        let (other, remaining) = licence(allowed, after);
        (answer, rest) = (answer && other, remaining);
    }
    (answer, rest)
}

fn licence<'a>(allowed: &BTreeSet<&str>, tokens: &'a [&'a str]) -> (bool, &'a [&'a str]) {
    match tokens {
        ["(", inside @ ..] => match alternatives(allowed, inside) {
            (answer, [")", rest @ ..]) => (answer, rest),
            _ => panic!("no closing parenthesis: {tokens:?}"),
        },
        // An exception is a licence of its own, to be allowed by its whole name.
        [name, "WITH", exception, rest @ ..] => {
            let whole = format!("{name} WITH {exception}");
            (allowed.contains(whole.as_str()), rest)
        }
        [name, rest @ ..] => (allowed.contains(name), rest),
        [] => panic!("a licence is missing"),
    }
}

#[test]
fn expressions_are_read_as_spdx_defines_them() {
    let allowed = BTreeSet::from(["A", "B"]);
    for (expression, answer) in [
        ("A", true),
        ("C", false),
        ("A/C", true),
        ("C OR A", true),
        ("A AND C", false),
        ("A AND C OR B", true),
        ("(A OR C) AND (C OR D)", false),
        ("(A OR C) AND B", true),
        ("A WITH X", false),
        ("A WITH X OR B", true),
    ] {
        assert_eq!(permits(&allowed, expression), answer, "{expression}");
    }
}

#[test]
fn every_licence_and_source_is_allowed_and_nothing_is_banned() {
    let deny = deny();
    let (allowed, banned) = (
        words(&deny, "licenses", "allow"),
        words(&deny, "bans", "deny"),
    );
    let mut wrong = Vec::new();
    for package in packages() {
        let licence = package.license.as_deref().unwrap_or("none");
        if !permits(&allowed, licence) {
            wrong.push(format!("{}: licence {licence}", package.name));
        }
        // Ours has no source.
        let source = package.source.as_deref().unwrap_or("registry+");
        if !source.starts_with("registry+")
            || (package.source.is_none() && package.name != "longshore")
        {
            wrong.push(format!("{}: source {source}", package.name));
        }
        if banned.contains(package.name.as_str()) {
            wrong.push(format!("{}: banned", package.name));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_exception_has_a_reason_and_is_still_needed() {
    let deny = deny();
    let packages = packages();
    let ignored = deny["advisories"]["ignore"].as_array().unwrap();
    for advisory in ignored {
        let reason = advisory["reason"].as_str().unwrap();
        let subject = reason.split_whitespace().next().unwrap();
        assert!(
            packages.iter().any(|package| package.name == subject),
            "{advisory}: `{subject}` is gone: so should this be"
        );
    }
    let dependents = |name: &str| -> Vec<&str> {
        packages
            .iter()
            .filter(|package| package.dependencies.iter().any(|d| d.name == name))
            .map(|package| package.name.as_str())
            .collect()
    };
    assert_eq!(dependents("backoff"), ["longshore"]);
    assert_eq!(dependents("instant"), ["backoff"]);
}
