use super::*;

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
