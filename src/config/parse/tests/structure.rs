use super::*;

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
