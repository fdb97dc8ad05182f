use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Problem};
use super::limits::{self, LONGEST_HOLD, Listing};
use super::queues::{BreakerConfig, QueueConfig, Queues};
use super::section::{Entry, Report, Section, lasting, number, whole, wrong_type};
use super::syntax;
use crate::job::{Kind, QueueName, RetryPolicy};

const ROOT: &[&str] = &["queues"];
const QUEUE: &[&str] = &[
    "kinds",
    "concurrency",
    "prefetch",
    "timeout",
    "retention",
    "dead_retention",
    "retry",
    "breaker",
];
const RETRY: &[&str] = &["max_attempts", "initial", "multiplier", "max", "jitter"];
const BREAKER: &[&str] = &["failures", "cooldown"];

/// The shortest duration that means anything here; 0 never does.
const SHORTEST: Duration = Duration::from_millis(1);

/// Far more tasks in one process than one core can feed; more is a slip of the keyboard.
const MAX_CONCURRENCY: u32 = 10_000;
const MAX_RETENTION: Duration = days(3_650);
const MAX_DELAY: Duration = days(30);
const MAX_COOLDOWN: Duration = Duration::from_secs(60 * 60);

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 60 * 60)
}

/// Reads the text of a queue file, or everything that is wrong with it, in the file's order.
pub(super) fn parse(text: &str, origin: &str) -> Result<Queues, Vec<ConfigError>> {
    // Columns are those an editor shows, which hides a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut report = Report {
        origin,
        text,
        errors: Vec::new(),
    };
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut queues = Queues::default();
    let intact = syntax::report(&mut report, &errors);
    let refused = std::mem::take(&mut report.errors);
    if intact {
        queues = document(&mut report, &Section::root(root.get_ref()));
        // What the syntax refuses is not reported as being of a wrong type too.
        let at = |error: &ConfigError| refused.iter().any(|r| r.position == error.position);
        report.errors.retain(|error| !at(error));
    }
    report.errors.extend(refused);
    if report.errors.is_empty() {
        return Ok(queues);
    }
    report.errors.sort_by_key(|error| error.position);
    Err(report.errors)
}

fn document(report: &mut Report<'_>, root: &Section<'_, '_>) -> Queues {
    let mut queues = Queues::default();
    let mut listings = Vec::new();
    root.only(report, ROOT, |_| None);
    let section = match root.get("queues") {
        Some(entry) => entry.section(report),
        None if root.entries.is_empty() => {
            no_queue(report, 0);
            None
        }
        // Whatever else is there is reported, and most likely `queues` misspelt.
        None => None,
    };
    let Some(section) = section else {
        return queues;
    };
    if section.entries.is_empty() {
        no_queue(report, section.at);
    }
    for entry in section.iter() {
        let name = queue_name(report, &entry);
        let Some(table) = entry.section(report) else {
            continue;
        };
        let config = queue(report, &table, &mut listings);
        if let (Some(name), Some(config)) = (name, config) {
            queues.insert(name, config);
        }
    }
    limits::one_queue_per_kind(report, listings);
    queues
}

fn no_queue(report: &mut Report<'_>, at: usize) {
    let fix = "add one: [queues.email] and below it kinds = [\"email.send\"]";
    report.add(at, "queues", Problem::new("there is no queue", fix));
}

fn queue_name(report: &mut Report<'_>, entry: &Entry<'_, '_>) -> Option<QueueName> {
    match entry.name.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            let problem = Problem::new(format!("{error}"), "give the queue another name");
            report.add(entry.at, &entry.path, problem);
            None
        }
    }
}

fn queue(
    report: &mut Report<'_>,
    table: &Section<'_, '_>,
    listings: &mut Vec<Listing>,
) -> Option<QueueConfig> {
    let default = QueueConfig::new(Vec::new());
    table.only(report, QUEUE, |entry| misplaced(table, entry));
    let kinds = kinds(report, table, listings);
    let concurrency = table.read(
        report,
        "concurrency",
        default.concurrency,
        whole(1..=MAX_CONCURRENCY),
    );
    let twice = concurrency.unwrap_or(default.concurrency).saturating_mul(2);
    let prefetch = table.read(report, "prefetch", twice, whole(1..=u16::MAX.into()));
    let timeout = table.read(
        report,
        "timeout",
        default.timeout,
        lasting(SHORTEST, LONGEST_HOLD),
    );
    let kept = || lasting(SHORTEST, MAX_RETENTION);
    let retention = table.read(report, "retention", default.retention, kept());
    let dead_retention = table.read(report, "dead_retention", default.dead_retention, kept());
    let retry = subsection(report, table, "retry", &default.retry, retry);
    let breaker = subsection(report, table, "breaker", &default.breaker, breaker);
    if let (Some(concurrency), Some(prefetch)) = (concurrency, prefetch) {
        limits::every_handler_is_fed(report, table, concurrency, prefetch);
        if let Some(timeout) = timeout {
            limits::no_delivery_is_held_too_long(report, table, concurrency, prefetch, timeout);
        }
    }
    Some(QueueConfig {
        kinds: kinds?,
        concurrency: concurrency?,
        prefetch: u16::try_from(prefetch?).ok()?,
        timeout: timeout?,
        retention: retention?,
        dead_retention: dead_retention?,
        retry: retry?,
        breaker: breaker?,
    })
}

fn subsection<T: Clone>(
    report: &mut Report<'_>,
    table: &Section<'_, '_>,
    name: &str,
    default: &T,
    read: impl FnOnce(&mut Report<'_>, &Section<'_, '_>, &T) -> Option<T>,
) -> Option<T> {
    match table.get(name) {
        None => Some(default.clone()),
        Some(entry) => {
            let section = entry.section(report)?;
            read(report, &section, default)
        }
    }
}

fn retry(
    report: &mut Report<'_>,
    table: &Section<'_, '_>,
    default: &RetryPolicy,
) -> Option<RetryPolicy> {
    table.only(report, RETRY, |_| None);
    let max_attempts = table.read(
        report,
        "max_attempts",
        default.max_attempts,
        whole(1..=1_000),
    );
    let initial = table.read(
        report,
        "initial",
        default.initial,
        lasting(SHORTEST, MAX_DELAY),
    );
    let multiplier = table.read(
        report,
        "multiplier",
        default.multiplier,
        number(1.0..=100.0),
    );
    let max = table.read(report, "max", default.max, lasting(SHORTEST, MAX_DELAY));
    let jitter = table.read(report, "jitter", default.jitter, number(0.0..=1.0));
    if let (Some(initial), Some(max)) = (initial, max) {
        limits::delays_grow(report, table, initial, max);
    }
    Some(RetryPolicy {
        max_attempts: max_attempts?,
        initial: initial?,
        multiplier: multiplier?,
        max: max?,
        jitter: jitter?,
    })
}

fn breaker(
    report: &mut Report<'_>,
    table: &Section<'_, '_>,
    default: &BreakerConfig,
) -> Option<BreakerConfig> {
    table.only(report, BREAKER, |_| None);
    let failures = table.read(report, "failures", default.failures, whole(1..=10_000));
    let cooldown = table.read(
        report,
        "cooldown",
        default.cooldown,
        lasting(SHORTEST, MAX_COOLDOWN),
    );
    Some(BreakerConfig {
        failures: failures?,
        cooldown: cooldown?,
    })
}

/// Required, because a queue that forgot its kinds would sit there empty. An empty list is
/// fine: that queue takes nothing new, and what still waits in it is worked.
fn kinds(
    report: &mut Report<'_>,
    table: &Section<'_, '_>,
    listings: &mut Vec<Listing>,
) -> Option<Vec<Kind>> {
    const FIX: &str = "list the kinds of job that wait here: kinds = [\"email.send\"]";
    let Some(entry) = table.get("kinds") else {
        report.add(
            table.at,
            &table.path,
            Problem::new("`kinds` is missing", FIX),
        );
        return None;
    };
    let DeValue::Array(items) = entry.value.get_ref() else {
        let problem = wrong_type("a list of kinds", entry.value.get_ref(), FIX);
        report.add(entry.value.span().start, &entry.path, problem);
        return None;
    };
    let mut kinds = Vec::with_capacity(items.len());
    let mut complete = true;
    for item in items {
        let at = item.span().start;
        match kind(item.get_ref()) {
            Ok(kind) => {
                let path = entry.path.clone();
                listings.push(Listing {
                    kind: kind.clone(),
                    path,
                    at,
                });
                kinds.push(kind);
            }
            Err(problem) => {
                report.add(at, &entry.path, problem);
                complete = false;
            }
        }
    }
    complete.then_some(kinds)
}

fn kind(value: &DeValue<'_>) -> Result<Kind, Problem> {
    const FIX: &str = "name it domain.verb, such as \"email.send\"";
    let DeValue::String(text) = value else {
        return Err(wrong_type("a kind", value, FIX));
    };
    text.parse()
        .map_err(|error| Problem::new(format!("{error}"), FIX))
}

/// Where an unknown key of a queue may have its place.
fn misplaced(table: &Section<'_, '_>, entry: &Entry<'_, '_>) -> Option<String> {
    let (path, name) = (&table.path, entry.name);
    if RETRY.contains(&name) {
        Some(format!("it belongs below [{path}.retry]"))
    } else if BREAKER.contains(&name) {
        Some(format!("it belongs below [{path}.breaker]"))
    } else if entry.value.get_ref().is_table() && super::suggest::closest(name, QUEUE).is_none() {
        let queue = path.strip_prefix("queues.").unwrap_or(path);
        Some(format!(
            "a queue name with a dot stands in quotes: [queues.\"{queue}.{name}\"]"
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
