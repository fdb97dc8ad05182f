use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::paths::{Mention, mentions};
use super::source::Source;

/// Each module of the crate's root, from the bottom up, and what it may import besides itself:
/// some of those above its line here, never one below. So there are no cycles.
///
/// `cli, dashboard, intake → admin, relay, worker → store, broker → config → job`
const LAYERS: [(&str, &[&str]); 18] = [
    ("job", &[]),
    ("config", &["job"]),
    // What every layer above reports through; it knows none of them.
    ("telemetry", &["job", "config"]),
    ("store", &["job", "config", "telemetry"]),
    ("broker", &["job", "config", "telemetry"]),
    // Who is alive: judged over the store's beats, for all that claim or rescue.
    ("liveness", &["job", "config", "telemetry", "store"]),
    ("relay", SERVICES),
    ("worker", SERVICES),
    // For programs that submit from elsewhere: it knows what a job is, and no process.
    ("client", &["job", "config", "worker"]),
    // Operations take the way of the processes: they dispatch as the relay does, and check a
    // payload with the worker's registry.
    (
        "admin",
        &[
            "job",
            "config",
            "telemetry",
            "store",
            "broker",
            "liveness",
            "relay",
            "worker",
        ],
    ),
    ("intake", DOORS),
    ("dashboard", DOORS),
    // What is above wires the rest into processes.
    ("node", TOP),
    // Measures processes from outside, and the servers beside them.
    ("bench", TOP),
    ("testing", TOP),
    ("demo", TOP),
    ("app", TOP),
    ("cli", TOP),
];
const SERVICES: &[&str] = &["job", "config", "telemetry", "store", "broker", "liveness"];
const DOORS: &[&str] = &[
    "job",
    "config",
    "telemetry",
    "store",
    "broker",
    "liveness",
    "relay",
    "worker",
    "admin",
];
const TOP: &[&str] = &[
    "job",
    "config",
    "telemetry",
    "store",
    "broker",
    "liveness",
    "relay",
    "worker",
    "client",
    "admin",
    "intake",
    "dashboard",
    "node",
    "bench",
    "demo",
    "app",
    "cli",
];

/// Crates that belong to one place.
const KEPT_IN: [(&str, &[&str]); 5] = [
    // Unmaintained: one file to replace when it must go.
    ("backoff", &["src/job/retry.rs"]),
    ("lapin", &["src/broker/amqp/"]),
    ("deadpool_lapin", &["src/broker/amqp/"]),
    // One place decides what is tried again and where a key may go.
    ("reqwest", &["src/client/", "workers/payment/gateway/"]),
    // Handlers whose effect is SQL commit it with the job's end.
    ("sqlx", &["src/store/", "workers/"]),
];

/// Crates that wait, connect or know a peer: `src/job/` is pure.
const IMPURE: [&str; 12] = [
    "tokio",
    "tokio_util",
    "sqlx",
    "lapin",
    "deadpool_lapin",
    "axum",
    "tower",
    "tower_http",
    "hyper",
    "hyper_util",
    "reqwest",
    "lettre",
];

/// Words that say nothing about what a file holds.
const VAGUE: [&str; 8] = [
    "util", "utils", "helper", "helpers", "manager", "managers", "common", "misc",
];

/// Makes routes of declared calls; nobody else makes any.
const ROUTER: &str = "src/intake/call.rs";

/// A file has fewer lines.
const TOO_LONG: usize = 400;

/// Permissions of the table to import what stands below; the top may, it is one layer.
pub fn upward() -> Vec<String> {
    let place = |wanted: &str| LAYERS.iter().position(|(name, _)| *name == wanted);
    let is_top = |name: &str| place(name) >= place("node");
    LAYERS
        .iter()
        .filter(|(name, _)| !is_top(name))
        .flat_map(|(name, allowed)| {
            allowed
                .iter()
                .filter(|other| place(other) >= place(name))
                .map(move |other| format!("{name} → {other}"))
        })
        .collect()
}

/// Every breach of the layers in a file.
pub fn check(source: &Source) -> Vec<String> {
    let mut found: Vec<String> = mentions(&source.text, &source.module())
        .iter()
        .filter_map(|mention| {
            let why = layer(source, mention).or_else(|| external(source, mention))?;
            Some(format!("{}:{}: {why}", source.path, mention.line))
        })
        .collect();
    found.extend(unknown(source));
    found.extend(detours(source));
    found.extend(undeclared_routes(source));
    found
}

fn layer(source: &Source, mention: &Mention) -> Option<String> {
    let module = source.module();
    // The crate's root re-exports; the program is another crate, with modules of its own.
    let own = module.first().filter(|_| source.path.starts_with("src/"))?;
    let (first, rest) = mention.segments.split_first()?;
    if first != "crate" {
        return None;
    }
    let path = mention.segments.join("::");
    let (_, allowed) = LAYERS.iter().find(|(name, _)| name == own)?;
    let known = |name: &str| LAYERS.iter().any(|(layer, _)| *layer == name);
    match rest.first() {
        Some(target) if target == own || allowed.contains(&target.as_str()) => None,
        Some(target) if known(target) => Some(format!(
            "`{own}` imports `{path}`; it may import {}",
            if allowed.is_empty() {
                "nothing of the crate".to_owned()
            } else {
                allowed.join(", ")
            }
        )),
        _ => Some(format!(
            "`{own}` imports `{path}`: name the module where that lives"
        )),
    }
}

/// A module of the root that the table above does not know.
fn unknown(source: &Source) -> Option<String> {
    let module = source.module();
    let own = module.first().filter(|_| source.path.starts_with("src/"))?;
    let known = LAYERS.iter().any(|(name, _)| name == own);
    (!known).then(|| {
        let path = &source.path;
        format!("{path}:1: `{own}` is no layer: add it to tests/architecture/rules.rs")
    })
}

fn external(source: &Source, mention: &Mention) -> Option<String> {
    let name = mention.segments.first()?.as_str();
    if source.path.starts_with("src/job/") && IMPURE.contains(&name) {
        return Some(format!("`job` is pure and must not use the crate `{name}`"));
    }
    let (_, places) = KEPT_IN.iter().find(|(kept, _)| *kept == name)?;
    let at_home = places.iter().any(|place| source.path.starts_with(place));
    (!at_home).then(|| format!("the crate `{name}` is used only in {}", places.join(", ")))
}

/// Ways to compile a file as part of a module where it does not lie: `#[path = "…"]`, `include!`.
fn detours(source: &Source) -> Vec<String> {
    let mut lines = Vec::new();
    find_detours(source.text.parse().expect("Rust"), false, &mut lines);
    lines
        .iter()
        .map(|line| format!("{}:{line}: brings in a file from elsewhere", source.path))
        .collect()
}

fn find_detours(tokens: TokenStream, in_attribute: bool, lines: &mut Vec<usize>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|t| t.to_string() == text);
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            let attribute = group.delimiter() == Delimiter::Bracket
                && at > 0
                && (is(at - 1, "#") || is(at - 1, "!"));
            find_detours(group.stream(), in_attribute || attribute, lines);
        } else if (is(at, "include") && is(at + 1, "!"))
            || (in_attribute && is(at, "path") && is(at + 1, "="))
        {
            lines.push(token.span().start().line);
        }
    }
}

/// Routes that are no declared call: nothing would check their caller, and nothing describe them.
fn undeclared_routes(source: &Source) -> Vec<String> {
    let mut lines = Vec::new();
    if source.path.starts_with("src/") && source.path != ROUTER {
        find_routes(source.text.parse().expect("Rust"), &mut lines);
    }
    let found = |line| format!("{}:{line}: declare a call in place of a route", source.path);
    lines.into_iter().map(found).collect()
}

fn find_routes(tokens: TokenStream, lines: &mut Vec<usize>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            find_routes(group.stream(), lines);
        }
        let name = token.to_string();
        if ["route", "route_service", "nest", "nest_service"].contains(&name.as_str())
            && at > 0
            && tokens[at - 1].to_string() == "."
        {
            lines.push(token.span().start().line);
        }
    }
}

/// What is wrong with a file's size or name.
pub fn shape(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    // Tables of unit tests may be as long as they must.
    if lines >= TOO_LONG && !source.path.ends_with("/tests.rs") {
        return Some(format!(
            "{}: {lines} lines; keep under {TOO_LONG}",
            source.path
        ));
    }
    let vague = source
        .path
        .trim_end_matches(".rs")
        .split(['/', '_'])
        .find(|word| VAGUE.contains(word))?;
    Some(format!(
        "{}: `{vague}` does not say what it holds",
        source.path
    ))
}
