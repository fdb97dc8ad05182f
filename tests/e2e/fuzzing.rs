//! A property-based fuzzer that reads `/openapi.json` finds no 5xx, no undocumented status, and no
//! answer that breaks its schema.

use std::path::Path;
use std::time::Duration;

use crate::installation::Installation;
use crate::support::places::python;
use crate::support::program::program;

/// A run is a matter of half a minute on an idle machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// Cases of each kind and call; the coverage of boundaries comes on top.
const EXAMPLES: &str = "20";

async fn fuzz(installation: &Installation, key: Option<&str>) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/schemathesis.toml");
    let description = format!("{}/openapi.json", installation.url);
    let header = key.map(|key| format!("Authorization: Bearer {key}"));
    let mut arguments = vec!["--config-file", config.to_str().unwrap(), "run"];
    arguments.extend(["--checks", "all", "--mode", "all", "--seed", "7"]);
    arguments.extend(["--phases", "examples,coverage,fuzzing,stateful"]);
    arguments.extend(["--max-examples", EXAMPLES, "--generation-database", "none"]);
    arguments.extend(["--continue-on-failure", "--no-color", "--workers", "1"]);
    if let Some(header) = &header {
        arguments.extend(["--header", header]);
    }
    arguments.push(&description);
    let mut run = program(python().with_file_name("schemathesis"), arguments).start();
    let status = run.wait_exit(PATIENCE).await;
    assert!(status.success(), "{}", run.stdout());
    let said = run.stdout();
    for phase in ["Examples", "Coverage", "Fuzzing", "Stateful"] {
        assert!(said.contains(&format!("✅ {phase}")), "{phase}: {said}");
    }
    let cases = said.split(" generated, ").next().unwrap();
    let cases: u32 = cases.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(cases > 400, "only {cases} cases: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fuzzer_finds_nothing_embedded_and_without_a_key() {
    fuzz(&Installation::embedded().await, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fuzzer_finds_nothing_on_rabbitmq_and_postgresql_without_a_key() {
    fuzz(&Installation::served(None).await, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fuzzer_finds_nothing_with_a_key_and_where_a_key_is_missing() {
    let key = "fuzzing-admin-key-0123456789abcdef";
    let installation = Installation::served(Some(key)).await;
    fuzz(&installation, Some(key)).await;
    fuzz(&installation, None).await;
}
