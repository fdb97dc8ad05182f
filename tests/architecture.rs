//! The layers of the source: who may import whom, and what no file may be.
//!
//! The check reads tokens, not just `use` items: a path counts wherever it stands, be it in an
//! expression, an attribute or a macro's arguments.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

#[path = "architecture/faults.rs"]
mod faults;
#[path = "architecture/paths.rs"]
mod paths;
#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/source.rs"]
mod source;

use source::Source;

fn violations(sources: &[Source]) -> Vec<String> {
    sources.iter().flat_map(rules::check).collect()
}

#[test]
fn the_source_keeps_its_layers() {
    let sources = source::all();
    assert!(sources.len() > 20, "looking in the wrong place");
    let found = violations(&sources);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn files_are_small_and_named_for_what_they_hold() {
    let found: Vec<String> = source::all().iter().filter_map(rules::shape).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// What the checker says of a file of one snippet.
fn verdict(path: &str, text: &str) -> Vec<String> {
    violations(&[Source::new(path, text)])
}

/// One breach each.
const FORBIDDEN_IMPORTS: &[(&str, &str)] = &[
    ("src/job/state.rs", "use crate::store::Store;"),
    ("src/job/state.rs", "pub use crate::{job::Kind, store};"),
    ("src/job/state.rs", "use super::super::config::Queues;"),
    ("src/job/mod.rs", "use super::worker as w;"),
    ("src/job/mod.rs", "use crate as everything;"),
    ("src/job/mod.rs", "use super::*;"),
    ("src/job/mod.rs", "use {std::fmt, crate::{store::{self}}};"),
    ("src/job/mod.rs", "use crate::App;"),
    ("src/store/mod.rs", "fn f(x: &crate::broker::Lane) {}"),
    ("src/store/mod.rs", "fn f() { crate::broker::consumer(1); }"),
    (
        "src/store/mod.rs",
        "mod tests { mod a { use super::super::super::broker::B; } }",
    ),
    (
        "src/store/pg/a.rs",
        "mod tests { use super::super::super::super::broker::B; }",
    ),
    (
        "src/broker/mod.rs",
        "fn f() { dbg!(vec![crate::store::X]); }",
    ),
    (
        "src/broker/mod.rs",
        "#[serde(with = \"x\")] #[doc(inline)] pub use crate::store::X;",
    ),
    (
        "src/broker/mod.rs",
        "macro_rules! m { () => { $crate::store::X }; }",
    ),
    (
        "src/broker/mod.rs",
        "#[derive(crate::relay::Derive)] struct S;",
    ),
    ("src/config/mod.rs", "use crate::broker::Source;"),
    ("src/config/mod.rs", "use crate::store::Source;"),
    ("src/relay/mod.rs", "use crate::worker::W;"),
    ("src/worker/mod.rs", "use crate::relay::R;"),
    ("src/worker/mod.rs", "use crate::admin::A;"),
    ("src/worker/mod.rs", "use crate::intake::I;"),
    ("src/admin/mod.rs", "use crate::cli::C;"),
    ("src/intake/mod.rs", "use crate::dashboard::D;"),
    ("src/intake/mod.rs", "use crate::app::App;"),
    ("src/intake/mod.rs", "use crate::cli::C;"),
    ("src/store/mod.rs", "use crate::unheard_of::X;"),
    (
        "src/unheard_of.rs",
        "use crate::job::X; use crate::store::Y;",
    ),
    ("src/unheard_of/deep.rs", ""),
    ("src/relay/mod.rs", "use crate::admin::A;"),
    ("src/liveness/mod.rs", "use crate::broker::B;"),
    ("src/telemetry.rs", "use crate::worker::W;"),
];

#[test]
fn a_forbidden_import_is_seen_however_it_is_written() {
    for (path, text) in FORBIDDEN_IMPORTS {
        assert_eq!(verdict(path, text).len(), 1, "{path}: {text}");
    }
}

/// One breach each.
const FORBIDDEN_CRATES: &[(&str, &str)] = &[
    ("src/job/mod.rs", "use tokio::time;"),
    ("src/job/mod.rs", "use ::tokio::time;"),
    ("src/job/mod.rs", "use {std::fmt, sqlx as db};"),
    ("src/job/mod.rs", "extern crate lapin;"),
    ("src/job/mod.rs", "#[tokio::main] async fn f() {}"),
    ("src/job/mod.rs", "fn f() { tokio::select! {} }"),
    ("src/job/mod.rs", "fn f(x: axum::Json<u8>) {}"),
    ("src/job/mod.rs", "use hyper::body;"),
    ("src/job/mod.rs", "use reqwest::Client;"),
    ("src/job/mod.rs", "use tokio_util::sync::CancellationToken;"),
    ("src/job/decide.rs", "use backoff::ExponentialBackoff;"),
    ("src/worker/breaker.rs", "use backoff::ExponentialBackoff;"),
    ("src/broker/mod.rs", "use lapin::Connection;"),
    ("src/relay/mod.rs", "type P = deadpool_lapin::Pool;"),
    ("src/relay/mod.rs", "fn f() { sqlx::query!(\"\"); }"),
    ("src/relay/mod.rs", "#[derive(sqlx::FromRow)] struct Row;"),
    ("workers/main.rs", "use lapin::Connection;"),
    (
        "workers/main.rs",
        "#[path = \"../src/job/mod.rs\"] mod job;",
    ),
    ("workers/main.rs", "include!(\"../src/job/mod.rs\");"),
    (
        "src/relay/mod.rs",
        "#[cfg_attr(unix, path = \"x.rs\")] mod x;",
    ),
];

#[test]
fn a_forbidden_crate_is_seen_however_it_is_written() {
    for (path, text) in FORBIDDEN_CRATES {
        assert_eq!(verdict(path, text).len(), 1, "{path}: {text}");
    }
}

/// No breach.
const ALLOWED: &[(&str, &str)] = &[
    (
        "src/job/state.rs",
        "use crate::job::Kind; use super::retry::R; use super::super::job::X;",
    ),
    ("src/job/retry.rs", "use backoff::ExponentialBackoff;"),
    (
        "src/job/retry.rs",
        "/// See [`crate::store`] and [`tokio`].\nfn f() {} // crate::store::X",
    ),
    (
        "src/job/retry.rs",
        "const S: &str = \"use crate::store::X; tokio::spawn\";",
    ),
    (
        "src/job/mod.rs",
        "mod axum; use axum::X; pub(crate) fn f() {} pub(in crate::job) fn g() {}",
    ),
    (
        "src/job/mod.rs",
        "fn f(backoff: u8) -> u8 { backoff.pow(2) }",
    ),
    (
        "src/store/mod.rs",
        "use crate::{config::Queues, job::*}; use sqlx::Row;",
    ),
    (
        "src/store/mod.rs",
        "mod tests { use super::*; mod a { use super::super::Store; } }",
    ),
    (
        "src/broker/amqp/pool.rs",
        "use lapin::Channel; use crate::config::Queues; use tokio::time;",
    ),
    (
        "src/relay/mod.rs",
        "use crate::{broker::Broker, store::Store, config, job, telemetry};",
    ),
    (
        "src/intake/mod.rs",
        "use crate::{admin, relay, worker, store, broker, config, job};",
    ),
    (
        "src/cli/mod.rs",
        "use crate::{admin, app::App, intake::bind};",
    ),
    (
        "src/admin/mod.rs",
        "use crate::{relay::Dispatcher, worker::Registry};",
    ),
    (
        "src/app.rs",
        "use crate::{cli, intake, dashboard, relay, worker};",
    ),
    (
        "src/lib.rs",
        "pub mod job; pub use job::Kind; pub use crate::app::App;",
    ),
    (
        "workers/main.rs",
        "use longshore::App; mod email; use crate::email::Email;",
    ),
    (
        "workers/inventory/mod.rs",
        "use sqlx::Row; include_str!(\"x.sql\");",
    ),
];

#[test]
fn what_is_allowed_passes() {
    for (path, text) in ALLOWED {
        assert_eq!(verdict(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn a_route_that_is_no_declared_call_is_seen() {
    for (path, text, breaches) in [
        (
            "src/intake/x.rs",
            "fn f() { Router::new().route(\"/x\", get(g)) }",
            1,
        ),
        (
            "src/node/front.rs",
            "fn f() { a(r.nest_service(\"/x\", s)) }",
            1,
        ),
        (
            "src/intake/x.rs",
            "fn f() { routes(calls()); r.route_layer(l) }",
            0,
        ),
        ("src/intake/call.rs", "fn f() { r.route(p, h) }", 0),
    ] {
        assert_eq!(verdict(path, text).len(), breaches, "{path}: {text}");
    }
}

#[test]
fn a_report_says_where_and_why_and_leaves_nothing_out() {
    let text = "\n\nuse crate::store::A;\nuse std::fmt;\nuse crate::{job::B, broker::{C, D}};\n";
    assert_eq!(
        verdict("src/job/x.rs", text),
        [
            "src/job/x.rs:3: `job` imports `crate::store::A`; it may import nothing of the crate",
            "src/job/x.rs:5: `job` imports `crate::broker::C`; it may import nothing of the crate",
            "src/job/x.rs:5: `job` imports `crate::broker::D`; it may import nothing of the crate",
        ]
    );
}

#[test]
fn big_files_and_vague_names_are_seen() {
    let long = "\n".repeat(400);
    for (path, text, fine) in [
        ("src/store/util.rs", "", false),
        ("src/store/time_utils.rs", "", false),
        ("workers/common/mod.rs", "", false),
        ("src/store/pool_manager.rs", "", false),
        ("src/store/helpers.rs", "", false),
        ("src/store/a.rs", long.as_str(), false),
        ("src/store/a.rs", &long[1..], true),
        ("src/store/utility_bill.rs", "", true),
    ] {
        let found = rules::shape(&Source::new(path, text));
        assert_eq!(found.is_none(), fine, "{path}: {found:?}");
    }
}

#[test]
fn the_table_itself_has_no_cycle() {
    assert_eq!(rules::upward(), Vec::<String>::new());
}
