use std::time::Duration;

use super::error::{Checked, Problem};

/// Most digits in a duration. Ten digits of years still fit 64 bits of seconds, so no sum in
/// `humantime` can reach the end, where it panics (`Duration::new` carries nanoseconds over).
const MAX_DIGITS: usize = 10;
const MAX_LEN: usize = 32;

const EXAMPLES: &str =
    "write a number with a unit, such as \"500ms\", \"30s\", \"10m\", \"1h30m\" or \"14d\"";

/// Reads `30s`, `10m`, `1h30m`, `14d`, `500ms`.
pub(super) fn parse(text: &str) -> Checked<Duration> {
    let text = text.trim();
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(if text.is_empty() {
            Problem::new("is empty", EXAMPLES)
        } else {
            without_unit(text)
        });
    }
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if text.len() > MAX_LEN || digits > MAX_DIGITS {
        return Err(Problem::new("is too long for a duration", EXAMPLES));
    }
    match humantime::parse_duration(text) {
        Ok(_) if text.contains('M') => Err(Problem::new(
            format!("`{text}`: `M` would be months"),
            "write `m` for minutes or `d` for days",
        )),
        Ok(duration) => Ok(duration),
        Err(error) => Err(Problem::new(
            format!("`{text}` is no duration: {}", reason(&error)),
            EXAMPLES,
        )),
    }
}

/// A bare number: the unit is missing.
pub(super) fn without_unit(number: &str) -> Problem {
    Problem::new(
        format!("{number} has no unit"),
        format!("write the unit: \"{number}s\" for seconds, \"{number}m\" for minutes"),
    )
}

/// Reads a duration within limits, both included.
pub(super) fn parse_within(text: &str, min: Duration, max: Duration) -> Checked<Duration> {
    let duration = parse(text)?;
    let wrong = if duration < min {
        "short"
    } else if duration > max {
        "long"
    } else {
        return Ok(duration);
    };
    let (low, high) = (show(min), show(max));
    Err(Problem::new(
        format!("`{}` is too {wrong}", text.trim()),
        format!("write a duration from {low} to {high}"),
    ))
}

/// A duration in its largest whole unit: `1500ms`, `90s`, `29m`, `14d`.
pub(super) fn show(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match duration.subsec_nanos() {
        0 => {}
        nanos if nanos.is_multiple_of(1_000_000) => return format!("{}ms", duration.as_millis()),
        _ => return humantime::format_duration(duration).to_string(),
    }
    [(86_400, "d"), (3_600, "h"), (60, "m")]
        .into_iter()
        .find(|(length, _)| seconds > 0 && seconds.is_multiple_of(*length))
        .map_or(format!("{seconds}s"), |(length, unit)| {
            format!("{}{unit}", seconds / length)
        })
}

fn reason(error: &humantime::DurationError) -> String {
    use humantime::DurationError as E;
    match error {
        E::UnknownUnit { unit, .. } if unit.is_empty() => "a number has no unit".to_owned(),
        E::UnknownUnit { unit, .. } => format!("unknown unit `{unit}`"),
        E::NumberOverflow => "too large or too precise".to_owned(),
        E::Empty => "it is empty".to_owned(),
        E::InvalidCharacter(_) | E::NumberExpected(_) => {
            "it does not start with a number and go on with units".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("14d", 1_209_600_000),
            ("2w", 1_209_600_000),
            ("1.5s", 1_500),
            ("0s", 0),
            (" 30s ", 30_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_explained() {
        for (text, message) in [
            ("", "is empty"),
            ("  ", "is empty"),
            ("30", "30 has no unit"),
            ("0", "0 has no unit"),
            ("1.5", "1.5 has no unit"),
            ("1h30", "`1h30` is no duration: a number has no unit"),
            ("30x", "`30x` is no duration: unknown unit `x`"),
            ("10M", "`10M`: `M` would be months"),
            (
                "s",
                "`s` is no duration: it does not start with a number and go on with units",
            ),
            (
                "-5s",
                "`-5s` is no duration: it does not start with a number and go on with units",
            ),
            ("0.5ns", "`0.5ns` is no duration: too large or too precise"),
            ("99999999999s", "is too long for a duration"),
        ] {
            assert_eq!(parse(text).unwrap_err().message, message, "{text}");
        }
    }

    #[test]
    fn sums_at_the_end_of_time_are_refused() {
        // humantime 2.4.0 panics on each of these.
        for text in [
            "18446744073709551615s 1000ms",
            "18446744073709551615s1000000000ns",
            "9223372036854775807s9223372036854775808s1000ms",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("9999999999y").is_ok(), "the longest is no overflow");
    }

    #[test]
    fn durations_are_shown_in_their_largest_whole_unit() {
        for (millis, shown) in [
            (0, "0s"),
            (90_000, "90s"),
            (1_740_000, "29m"),
            (7_200_000, "2h"),
            (315_360_000_000, "3650d"),
            (1_500, "1500ms"),
        ] {
            assert_eq!(show(Duration::from_millis(millis)), shown);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", near in "[0-9a-zA-Zµ. ]{0,40}") {
            let _ = (parse(&text), parse(&near));
        }

        #[test]
        fn what_is_shown_reads_back(millis in 0u64..10_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&show(duration)), Ok(duration));
        }
    }
}
