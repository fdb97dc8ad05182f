mod any_text;
mod structure;
mod values;

use super::super::error::Position;
use super::*;

/// The errors of a text as `line:column key: message — fix`.
fn errors(text: &str) -> Vec<String> {
    match parse(text, "q") {
        Ok(queues) => panic!("accepted as {queues:?}:\n{text}"),
        Err(errors) => errors
            .iter()
            .map(|error| error.to_string().strip_prefix("q:").unwrap().to_owned())
            .collect(),
    }
}

/// The errors of a queue `email` with these lines below its kinds, the first in line 3.
fn errors_in_queue(lines: &str) -> Vec<String> {
    errors(&format!(
        "[queues.email]\nkinds = [\"email.send\"]\n{lines}"
    ))
}

fn email(lines: &str) -> QueueConfig {
    let text = format!("[queues.email]\nkinds = [\"email.send\"]\n{lines}");
    let queues = parse(&text, "q").unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
    queues.get("email").unwrap().clone()
}

fn defaults() -> QueueConfig {
    QueueConfig::new(vec!["email.send".parse().unwrap()])
}

#[test]
fn the_built_in_copy_holds_the_defaults() {
    let text = include_str!("../../../queues.toml");
    let queues = parse(text, "queues.toml").unwrap();
    assert_eq!(
        queues.names().map(QueueName::as_str).collect::<Vec<_>>(),
        ["email", "inventory", "payment"]
    );
    assert_eq!(queues.get("email"), Some(&defaults()));
    assert_eq!(Queues::built_in(), queues);
    for key in [QUEUE, RETRY, BREAKER].concat() {
        let documented =
            text.contains(&format!("\n{key} = ")) || text.contains(&format!(".{key}]\n"));
        assert!(documented, "{key} is not in queues.toml");
    }
}

#[test]
fn all_but_the_kinds_is_optional() {
    assert_eq!(email(""), defaults());
    assert_eq!(email("retry = {}\n[queues.email.breaker]"), defaults());
}

#[test]
fn every_key_is_read() {
    let queue = email(
        "concurrency = 3\nprefetch = 0x07\ntimeout = \"1m30s\"\nretention = \"14d\"\n\
         dead_retention = \"365d\"\n\
         [queues.email.retry]\nmax_attempts = 4\ninitial = \"500ms\"\nmultiplier = 3\n\
         max = \"1h\"\njitter = 0.25\n\
         [queues.email.breaker]\nfailures = 9\ncooldown = \"2m\"\n",
    );
    let expected = QueueConfig {
        kinds: defaults().kinds,
        concurrency: 3,
        prefetch: 7,
        timeout: Duration::from_secs(90),
        retention: days(14),
        dead_retention: days(365),
        retry: RetryPolicy {
            max_attempts: 4,
            initial: Duration::from_millis(500),
            multiplier: 3.0,
            max: Duration::from_secs(3600),
            jitter: 0.25,
        },
        breaker: BreakerConfig {
            failures: 9,
            cooldown: Duration::from_secs(120),
        },
    };
    assert_eq!(queue, expected);
}

#[test]
fn prefetch_follows_the_concurrency() {
    assert_eq!(email("concurrency = 1").prefetch, 2);
    assert_eq!(email("concurrency = 10000").prefetch, 20_000);
}

#[test]
fn values_at_the_edge_of_their_range_are_fine() {
    email("concurrency = 10000\nprefetch = 65535");
    email("concurrency = 1\nprefetch = 1\ntimeout = \"29m\"");
    email("concurrency = 2\nprefetch = 4\ntimeout = \"14m30s\"");
    email("retention = \"3650d\"\ndead_retention = \"1ms\"");
    email("[queues.email.retry]\nmax_attempts = 1\ninitial = \"10m\"\nmultiplier = 1\njitter = 0");
    email("[queues.email.retry]\njitter = 1.0\nmultiplier = 100.0");
}

#[test]
fn queues_with_dots_stand_in_quotes_and_may_be_empty() {
    let queues = parse("[queues.\"email.bulk\"]\nkinds = []", "q").unwrap();
    assert_eq!(queues.get("email.bulk").unwrap().kinds, []);
}
