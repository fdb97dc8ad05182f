use proptest::prelude::*;

use super::*;

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
        let plain = include_str!("../../../../queues.toml").lines().filter(|line| !line.starts_with('#'));
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
