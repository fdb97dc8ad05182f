use proptest::prelude::*;

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

#[test]
fn unknown_keys_get_a_suggestion() {
    for (text, expected) in [
        (
            "concurency = 3",
            "3:1: queues.email.concurency: unknown key — did you mean `concurrency`?",
        ),
        (
            "  colour = 3",
            "3:3: queues.email.colour: unknown key — remove it; known here: `kinds`, \
             `concurrency`, `prefetch`, `timeout`, `retention`, `dead_retention`, `retry` and \
             `breaker`",
        ),
        (
            "max_attempts = 3",
            "3:1: queues.email.max_attempts: unknown key — it belongs below [queues.email.retry]",
        ),
        (
            "cooldown = \"1s\"",
            "3:1: queues.email.cooldown: unknown key — it belongs below [queues.email.breaker]",
        ),
        (
            "[queues.email.rety]",
            "3:15: queues.email.rety: unknown key — did you mean `retry`?",
        ),
        (
            "retry.inital = \"1s\"",
            "3:7: queues.email.retry.inital: unknown key — did you mean `initial`?",
        ),
        (
            "breaker = { failure = 1 }",
            "3:13: queues.email.breaker.failure: unknown key — did you mean `failures`?",
        ),
        (
            "[queues.email.bulk]\nkinds = []",
            "3:15: queues.email.bulk: unknown key — a queue name with a dot stands in quotes: \
             [queues.\"email.bulk\"]",
        ),
        (
            "\"a b\" = 1",
            "3:1: queues.email.\"a b\": unknown key — remove it; known here: `kinds`, \
             `concurrency`, `prefetch`, `timeout`, `retention`, `dead_retention`, `retry` and \
             `breaker`",
        ),
    ] {
        assert_eq!(errors_in_queue(text), [expected], "{text}");
    }
    assert_eq!(
        errors("[queue.email]\nkinds = []"),
        ["1:2: queue: unknown key — did you mean `queues`?"]
    );
}

#[test]
fn wrong_types_are_named() {
    for (text, expected) in [
        (
            "concurrency = \"64\"",
            "3:15: queues.email.concurrency: must be a whole number, not a string — write a whole \
             number from 1 to 10000",
        ),
        (
            "prefetch = 1.5",
            "3:12: queues.email.prefetch: must be a whole number, not a float — write a whole \
             number from 1 to 65535",
        ),
        (
            "timeout = true",
            "3:11: queues.email.timeout: must be a duration, not a boolean — write a duration in \
             quotes, such as \"30s\"",
        ),
        (
            "retry.jitter = [0.5]",
            "3:16: queues.email.retry.jitter: must be a number, not an array — write a number \
             from 0.0 to 1.0",
        ),
        (
            "retry = 8",
            "3:9: queues.email.retry: must be a table, not an integer — write \
             [queues.email.retry] and its settings below",
        ),
        (
            "[[queues.email.breaker]]",
            "3:16: queues.email.breaker: must be a table, not an array — write \
             [queues.email.breaker] in single brackets, once",
        ),
    ] {
        assert_eq!(errors_in_queue(text), [expected], "{text}");
    }
    assert_eq!(
        errors("queues = 2024-01-01"),
        ["1:10: queues: must be a table, not a datetime — write [queues] and its settings below"]
    );
}

#[test]
fn durations_need_a_unit_and_quotes() {
    for (text, expected) in [
        (
            "timeout = 60",
            "3:11: queues.email.timeout: 60 has no unit — write the unit: \"60s\" for seconds, \
             \"60m\" for minutes",
        ),
        (
            "timeout = \"60\"",
            "3:11: queues.email.timeout: 60 has no unit — write the unit: \"60s\" for seconds, \
             \"60m\" for minutes",
        ),
        (
            "timeout = 60s",
            "3:11: queues.email.timeout: `60s` is not in quotes — durations are text: write \
             \"60s\"",
        ),
        (
            "timeout = \"60 parsecs\"",
            "3:11: queues.email.timeout: `60 parsecs` is no duration: unknown unit `parsecs` — \
             write a number with a unit, such as \"500ms\", \"30s\", \"10m\", \"1h30m\" or \"14d\"",
        ),
    ] {
        assert_eq!(errors_in_queue(text), [expected], "{text}");
    }
}

#[test]
fn numbers_out_of_range_are_named_with_the_range() {
    let whole = "is out of range — write a whole number from";
    let number = "is out of range — write a number from";
    each_is_refused(&[
        ("concurrency", "0", format!("0 {whole} 1 to 10000")),
        ("concurrency", "10001", format!("10001 {whole} 1 to 10000")),
        ("concurrency", "-1", format!("-1 {whole} 1 to 10000")),
        ("prefetch", "0", format!("0 {whole} 1 to 65535")),
        ("prefetch", "65536", format!("65536 {whole} 1 to 65535")),
        (
            "prefetch",
            "99999999999999999999",
            format!("99999999999999999999 {whole} 1 to 65535"),
        ),
        (
            "prefetch",
            "0x10000",
            format!("10000 (base 16) {whole} 1 to 65535"),
        ),
        ("retry.max_attempts", "0", format!("0 {whole} 1 to 1000")),
        (
            "retry.max_attempts",
            "1001",
            format!("1001 {whole} 1 to 1000"),
        ),
        (
            "retry.multiplier",
            "0.99",
            format!("0.99 {number} 1.0 to 100.0"),
        ),
        ("retry.multiplier", "0", format!("0 {number} 1.0 to 100.0")),
        (
            "retry.multiplier",
            "inf",
            format!("inf {number} 1.0 to 100.0"),
        ),
        (
            "retry.multiplier",
            "nan",
            format!("nan {number} 1.0 to 100.0"),
        ),
        ("retry.jitter", "-0.1", format!("-0.1 {number} 0.0 to 1.0")),
        ("retry.jitter", "1.01", format!("1.01 {number} 0.0 to 1.0")),
        (
            "retry.jitter",
            "1e999",
            format!("1e999 {number} 0.0 to 1.0"),
        ),
        ("breaker.failures", "0", format!("0 {whole} 1 to 10000")),
    ]);
}

#[test]
fn durations_out_of_range_are_named_with_the_range() {
    let short = "is too short — write a duration from 1ms to";
    let long = "is too long — write a duration from 1ms to";
    each_is_refused(&[
        ("timeout", "\"0s\"", format!("`0s` {short} 29m")),
        ("timeout", "\"29m1s\"", format!("`29m1s` {long} 29m")),
        ("timeout", "\"30m\"", format!("`30m` {long} 29m")),
        ("retention", "\"0d\"", format!("`0d` {short} 3650d")),
        ("retention", "\"3651d\"", format!("`3651d` {long} 3650d")),
        ("dead_retention", "\"11y\"", format!("`11y` {long} 3650d")),
        ("retry.initial", "\"0s\"", format!("`0s` {short} 30d")),
        ("retry.max", "\"31d\"", format!("`31d` {long} 30d")),
        ("breaker.cooldown", "\"0ms\"", format!("`0ms` {short} 1h")),
        ("breaker.cooldown", "\"2h\"", format!("`2h` {long} 1h")),
    ]);
}

/// Holds that a key with a value in line 3 is the only error, with this text.
fn each_is_refused(cases: &[(&str, &str, String)]) {
    for (key, value, expected) in cases {
        let column = key.len() + 4;
        let text = format!("{key} = {value}");
        let expected = format!("3:{column}: queues.email.{key}: {expected}");
        assert_eq!(errors_in_queue(&text), [expected], "{text}");
    }
}

#[test]
fn values_must_fit_each_other() {
    for (text, expected) in [
        (
            "concurrency = 8\nprefetch = 4",
            "4:12: queues.email.prefetch: `prefetch` = 4 is below `concurrency` = 8: handlers \
             would idle — set `prefetch` to 8 or more; the default is twice that",
        ),
        (
            "concurrency = 1\nprefetch = 30",
            "4:12: queues.email.prefetch: the last of 30 prefetched jobs may wait for 30 rounds \
             of 1m, longer than the broker's consumer timeout of 30m — set `prefetch` to 29 or \
             less, or lower `timeout`",
        ),
        (
            "timeout = \"15m\"",
            "3:11: queues.email.timeout: the last of 128 prefetched jobs may wait for 2 rounds of \
             15m, longer than the broker's consumer timeout of 30m — set `prefetch` to 64 or \
             less, or lower `timeout`",
        ),
        (
            "retry.initial = \"1h\"",
            "3:17: queues.email.retry.initial: the longest delay, `max` = 10m, is below the \
             first, `initial` = 1h — set `max` to \"1h\" or more, or lower `initial`",
        ),
        (
            "retry.max = \"500ms\"",
            "3:13: queues.email.retry.max: the longest delay, `max` = 500ms, is below the first, \
             `initial` = 1s — set `max` to \"1s\" or more, or lower `initial`",
        ),
    ] {
        assert_eq!(errors_in_queue(text), [expected], "{text}");
    }
}

#[test]
fn kinds_are_listed_well_and_once() {
    const LIST: &str = "list the kinds of job that wait here: kinds = [\"email.send\"]";
    const NAME: &str = "name it domain.verb, such as \"email.send\"";
    const ONCE: &str = "list each kind in one queue, once";
    for (text, expected) in [
        (
            "[queues.a]",
            format!("1:9: queues.a: `kinds` is missing — {LIST}"),
        ),
        (
            "[queues.a]\nkinds = \"x\"",
            format!("2:9: queues.a.kinds: must be a list of kinds, not a string — {LIST}"),
        ),
        (
            "[queues.a]\nkinds = [\"x\", 1]",
            format!("2:15: queues.a.kinds: must be a kind, not an integer — {NAME}"),
        ),
        (
            "[queues.a]\nkinds = [\"X.y\"]",
            format!(
                "2:10: queues.a.kinds: `X.y` may hold only lower-case letters, digits, `_`, `-` \
                 and single dots between them — {NAME}"
            ),
        ),
        (
            "[queues.a]\nkinds = [\"\"]",
            format!("2:10: queues.a.kinds: `` must be 1 to 128 characters long — {NAME}"),
        ),
        (
            "[queues.a]\nkinds = [\"x\", \"x\"]",
            format!("2:15: queues.a.kinds: `x` is listed twice — {ONCE}"),
        ),
        (
            "[queues.b]\nkinds = [\"x\"]\n[queues.a]\nkinds = [\"x\"]",
            format!("4:10: queues.a.kinds: `x` is also in queues.b.kinds — {ONCE}"),
        ),
    ] {
        assert_eq!(errors(text), [expected], "{text}");
    }
}

#[test]
fn queue_names_are_checked() {
    for (name, message) in [
        (
            "Email",
            "queues.Email: `Email` may hold only lower-case letters, digits, `_`, `-` and single \
             dots between them",
        ),
        (
            "\"email.high\"",
            "queues.\"email.high\": `email.high` is taken: a queue may not be called `jobs` or \
             end in `dead` or `high`",
        ),
    ] {
        assert_eq!(
            errors(&format!("[queues.{name}]\nkinds = []")),
            [format!("1:9: {message} — give the queue another name")]
        );
    }
}

#[test]
fn a_file_without_queues_is_a_mistake() {
    const FIX: &str = "add one: [queues.email] and below it kinds = [\"email.send\"]";
    assert_eq!(
        errors(""),
        [format!("1:1: queues: there is no queue — {FIX}")]
    );
    assert_eq!(
        errors("# nothing"),
        [format!("1:1: queues: there is no queue — {FIX}")]
    );
    assert_eq!(
        errors("\n[queues]"),
        [format!("2:2: queues: there is no queue — {FIX}")]
    );
}

#[test]
fn syntax_errors_have_a_place() {
    const FIX: &str = "correct this line; the format is TOML, https://toml.io";
    for (text, expected) in [
        (
            "[queues.email\n",
            format!("1:14: unclosed table, expected `]` — {FIX}"),
        ),
        (
            "queues",
            format!("1:7: key with no value, expected `=` — {FIX}"),
        ),
        (
            "\u{feff}queues",
            format!("1:7: key with no value, expected `=` — {FIX}"),
        ),
        (
            "[queues.email]\nkinds = ['é', \"x]\n",
            format!("2:18: invalid basic string, expected `\"` — {FIX}"),
        ),
    ] {
        assert_eq!(errors(text)[0], expected, "{text}");
    }
}

#[test]
fn what_comes_after_broken_syntax_is_not_guessed_at() {
    let text = "[queues.email\nkinds = 5\nconcurrency = 0\n";
    assert_eq!(errors(text).len(), 1, "{:?}", errors(text));
}

#[test]
fn duplicates_and_forgotten_quotes_do_not_hide_other_errors() {
    let text = "[queues.email]\nkinds = [\"email.send\"]\nkinds = []\nprefetch = many\n\
                retention =\nconcurrency = 0\n[queues.email]\n";
    assert_eq!(
        errors(text),
        [
            "3:1: queues.email.kinds: is here for the second time — keep one of the two",
            "4:12: queues.email.prefetch: `many` is not in quotes — text stands in quotes: write \
             \"many\"",
            "5:12: queues.email.retention: has no value — write a value after the `=`, or remove \
             the key",
            "6:15: queues.email.concurrency: 0 is out of range — write a whole number from 1 to \
             10000",
            "7:9: queues.email: is here for the second time — keep one of the two",
        ]
    );
}

#[test]
fn all_errors_come_at_once_in_the_order_of_the_file() {
    let text = "color = 1\n[queues.b]\ntimeout = 5\n[queues.b.retry]\njitter = 7\n\
                [queues.Z]\nkinds = [\"a b\"]\n[queues.a]\nkinds = [3]\nbreaker.failures = 0\n";
    let places: Vec<String> = parse(text, "q")
        .unwrap_err()
        .iter()
        .map(|error| {
            let Position { line, column } = error.position.unwrap();
            format!("{line}:{column} {}", error.key)
        })
        .collect();
    assert_eq!(
        places,
        [
            "1:1 color",
            "2:9 queues.b",
            "3:11 queues.b.timeout",
            "5:10 queues.b.retry.jitter",
            "6:9 queues.Z",
            "7:10 queues.Z.kinds",
            "9:10 queues.a.kinds",
            "10:20 queues.a.breaker.failures",
        ]
    );
}

/// What every answer must hold, whatever the text was.
fn holds(text: &str) -> Result<(), TestCaseError> {
    match parse(text, "origin") {
        Ok(queues) => {
            prop_assert!(queues.names().next().is_some());
            for (_, queue) in queues.iter() {
                let rounds = u32::from(queue.prefetch).div_ceil(queue.concurrency);
                prop_assert!(u32::from(queue.prefetch) >= queue.concurrency);
                prop_assert!(queue.timeout * rounds <= LONGEST_HOLD);
                prop_assert!(queue.retry.max >= queue.retry.initial);
                prop_assert!(queue.retry.multiplier.is_finite());
            }
        }
        Err(errors) => {
            prop_assert!(!errors.is_empty());
            let lines = text.matches('\n').count() + 1;
            for error in errors {
                let place = error.position.unwrap();
                prop_assert!((1..=lines).contains(&place.line) && place.column >= 1);
                let shown = error.to_string();
                prop_assert!(shown.starts_with("origin:"), "{}", shown);
                prop_assert!(
                    !error.message.is_empty() && !error.fix.is_empty(),
                    "{}",
                    shown
                );
                prop_assert!(!shown.chars().any(char::is_control), "{:?}", shown);
            }
        }
    }
    Ok(())
}

fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        Just("[queues.email]".to_owned()),
        Just("[queues.email.retry]".to_owned()),
        Just("[[queues.email]]".to_owned()),
        Just("queues.email.retry.max = \"1h\"".to_owned()),
        Just("kinds = [\"a\", \"b.c\"]".to_owned()),
        Just("timeout = \"\"\"60s\"\"\"".to_owned()),
        Just("retry = { max = '1h', initial.x = [{}] }".to_owned()),
        "[a-z]{0,12} ?= ?[-+0-9a-fx._:\"'{}\\[\\]]{0,10}",
        "[\\PC\n]{0,20}",
    ];
    proptest::collection::vec(fragment, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        holds(&text)?;
    }

    #[test]
    fn no_heap_of_fragments_panics(text in fragments()) {
        holds(&text)?;
    }

    #[test]
    fn no_damaged_file_panics(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..6, "(?s).{0,4}"), 1..8),
    ) {
        let plain = include_str!("../../../queues.toml").lines().filter(|line| !line.starts_with('#'));
        let mut text: Vec<char> = plain.collect::<Vec<_>>().join("\n").chars().collect();
        for (at, removed, put) in edits {
            let start = at.index(text.len() + 1);
            let end = (start + removed).min(text.len());
            text.splice(start..end, put.chars());
        }
        holds(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn what_is_written_is_read(
        concurrency in 1u32..=10_000, extra in 0u16..5_000, timeout in 1u64..=60_000,
        retention in 1u64..=3_650, attempts in 1u32..=1_000, initial in 1u64..=60_000,
        growth in 0u64..100_000, multiplier in 1.0f64..100.0, jitter in 0.0f64..1.0,
    ) {
        let prefetch = (concurrency + u32::from(extra)).min(29 * concurrency);
        let text = format!(
            "concurrency = {concurrency}\nprefetch = {prefetch}\ntimeout = \"{timeout}ms\"\n\
             retention = \"{retention}d\"\n[queues.email.retry]\nmax_attempts = {attempts}\n\
             initial = \"{initial}ms\"\nmax = \"{}ms\"\nmultiplier = {multiplier:?}\njitter = {jitter:?}",
            initial + growth,
        );
        let queue = email(&text);
        prop_assert_eq!(queue.concurrency, concurrency);
        prop_assert_eq!(u32::from(queue.prefetch), prefetch);
        prop_assert_eq!(queue.timeout, Duration::from_millis(timeout));
        prop_assert_eq!(queue.retention, days(retention));
        prop_assert_eq!(queue.retry, RetryPolicy {
            max_attempts: attempts, multiplier, jitter,
            initial: Duration::from_millis(initial),
            max: Duration::from_millis(initial + growth),
        });
    }
}
