use proptest::prelude::*;

use super::*;
use crate::job::{Done, Failure};

const COOLDOWN: Duration = Duration::from_secs(10);

fn breaker(failures: u32) -> Breaker {
    Breaker::new(BreakerConfig {
        failures,
        cooldown: COOLDOWN,
    })
}

/// One thing that happens to a breaker.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A run is let through (or not) and ends at once.
    Run(Signal),
    /// So many seconds pass.
    Pass(u64),
}

#[test]
fn every_sequence_ends_where_the_table_says() {
    use Signal::{Answered, Silent, Unavailable, Waiting};
    use Step::{Pass, Run};
    let down = Run(Unavailable);
    let table: Vec<(&str, Vec<Step>, &str)> = vec![
        ("nothing", vec![], "closed"),
        ("two of three", vec![down, down], "closed"),
        ("three in a row", vec![down, down, down], "open"),
        (
            "not in a row",
            vec![down, down, Run(Answered), down, down],
            "closed",
        ),
        (
            "polling breaks no row",
            vec![down, down, Run(Waiting), down],
            "open",
        ),
        (
            "silence breaks no row",
            vec![down, down, Run(Silent), down],
            "open",
        ),
        ("polling is no outage", vec![Run(Waiting); 9], "closed"),
        ("silence is no outage", vec![Run(Silent); 9], "closed"),
        (
            "before the cool-down",
            vec![down, down, down, Pass(9), Run(Answered)],
            "open",
        ),
        ("after it", vec![down, down, down, Pass(10)], "half_open"),
        (
            "it answers",
            vec![down, down, down, Pass(10), Run(Answered)],
            "closed",
        ),
        (
            "it polls",
            vec![down, down, down, Pass(10), Run(Waiting)],
            "half_open",
        ),
        ("still down", vec![down, down, down, Pass(10), down], "open"),
        (
            "another cool-down",
            vec![down, down, down, Pass(10), down, Pass(9)],
            "open",
        ),
        (
            "and over",
            vec![down, down, down, Pass(10), down, Pass(10)],
            "half_open",
        ),
        (
            "no word",
            vec![down, down, down, Pass(10), Run(Silent)],
            "half_open",
        ),
        (
            "then a word",
            vec![down, down, down, Pass(10), Run(Silent), Run(Answered)],
            "closed",
        ),
        (
            "closed means counting from zero",
            vec![down, down, down, Pass(10), Run(Answered), down, down],
            "closed",
        ),
    ];
    walk(table);
}

#[test]
fn what_is_refused_breaks_a_row_and_ends_no_outage() {
    use Signal::{Refused, Unavailable, Waiting};
    use Step::{Pass, Run};
    let down = Run(Unavailable);
    walk(vec![
        (
            "a job that is wrong by itself breaks the row",
            vec![down, down, Run(Refused), down, down],
            "closed",
        ),
        (
            "and may have asked nobody",
            vec![down, down, down, Pass(10), Run(Refused), Run(Refused)],
            "half_open",
        ),
        (
            "where all that there is is refused, it is not down",
            vec![
                down,
                down,
                down,
                Pass(10),
                Run(Refused),
                Run(Waiting),
                Run(Refused),
            ],
            "closed",
        ),
        (
            "the next one looks",
            vec![down, down, down, Pass(10), Run(Refused), down],
            "open",
        ),
    ]);
}

fn walk(table: Vec<(&str, Vec<Step>, &str)>) {
    use Step::{Pass, Run};
    for (name, steps, expected) in table {
        let (mut breaker, mut now) = (breaker(3), Instant::now());
        for step in steps {
            match step {
                Pass(seconds) => {
                    now += Duration::from_secs(seconds);
                    breaker.tick(now);
                }
                Run(signal) => {
                    if let Some(ticket) = breaker.admit() {
                        breaker.heard(ticket, signal, now);
                    }
                }
            }
        }
        assert_eq!(breaker.name(), expected, "{name}");
    }
}

#[test]
fn what_was_in_flight_when_it_opened_says_nothing_afterwards() {
    let (mut breaker, now) = (breaker(2), Instant::now());
    let flight: Vec<Ticket> = (0..6).filter_map(|_| breaker.admit()).collect();
    assert_eq!(breaker.heard(flight[0], Signal::Unavailable, now), None);
    let opened = breaker.heard(flight[1], Signal::Unavailable, now);
    assert_eq!(opened, Some(Change::Opened));
    assert_eq!(breaker.heard(flight[2], Signal::Answered, now), None);
    assert_eq!(breaker.mode(), Mode::Shut(now + COOLDOWN));
    let later = now + COOLDOWN;
    assert_eq!(breaker.tick(later), Some(Change::HalfOpened));
    assert_eq!(breaker.heard(flight[3], Signal::Answered, later), None);
    let probe = breaker.admit().unwrap();
    assert_eq!(breaker.admit(), None, "one looks, not two");
    assert_eq!(breaker.heard(flight[4], Signal::Unavailable, later), None);
    let closed = breaker.heard(probe, Signal::Answered, later);
    assert_eq!(closed, Some(Change::Closed));
    assert_eq!(breaker.heard(flight[5], Signal::Unavailable, later), None);
    assert_eq!(breaker.state, State::Closed(0));
}

#[test]
fn only_what_a_handler_says_of_its_dependency_counts() {
    let seconds = Duration::from_secs(1);
    let store = crate::store::StoreError::Stopping;
    let table = [
        (Outcome::Success(Done), Signal::Answered),
        (
            Err(Failure::unavailable("x", "y")).into(),
            Signal::Unavailable,
        ),
        (
            Err(Failure::unavailable("x", "y").after(seconds)).into(),
            Signal::Unavailable,
        ),
        (
            Err(Failure::waiting("x", "y", seconds)).into(),
            Signal::Waiting,
        ),
        (Err(Failure::retry("x", "y")).into(), Signal::Answered),
        (Err(Failure::permanent("x", "y")).into(), Signal::Refused),
        (Err(Failure::from_store(&store)).into(), Signal::Silent),
        (Outcome::timed_out(seconds), Signal::Silent),
        (Outcome::panicked("x"), Signal::Silent),
        (Outcome::invalid("x", &"y"), Signal::Silent),
        (Outcome::Interrupted, Signal::Silent),
        (Outcome::Cancelled, Signal::Silent),
    ];
    for (outcome, expected) in table {
        assert_eq!(Signal::of(&outcome), expected, "{outcome:?}");
    }
}

proptest! {
    /// With the dependency down whatever happens, runs that are let through after it opened are
    /// at most one a cool-down; and once it answers, jobs flow after the next one that tells.
    #[test]
    fn an_outage_is_looked_at_once_a_cool_down_and_its_end_is_found(
        failures in 1u32..6,
        steps in prop::collection::vec((0u64..4_000, prop::bool::ANY, 0usize..4), 1..400),
    ) {
        let (mut breaker, start) = (breaker(failures), Instant::now());
        let mut now = start;
        let mut flight: Vec<Ticket> = Vec::new();
        let (mut opened, mut probes) = (None, 0u32);
        for (ms, starts, ends) in steps {
            now += Duration::from_millis(ms);
            breaker.tick(now);
            if starts && let Some(ticket) = breaker.admit() {
                probes += u32::from(opened.is_some());
                flight.push(ticket);
            }
            if ends > 0 && !flight.is_empty() {
                let ticket = flight.remove(ends % flight.len());
                let change = breaker.heard(ticket, Signal::Unavailable, now);
                prop_assert_ne!(change, Some(Change::Closed));
                if change == Some(Change::Opened) {
                    prop_assert!(opened.is_none(), "it opened twice without closing");
                    opened = Some(now);
                }
            }
            if let Some(opened) = opened {
                let cooldowns = (now - opened).as_secs() / COOLDOWN.as_secs();
                prop_assert!(u64::from(probes) <= cooldowns, "{} probes", probes);
            }
        }
        // It is back. Those in flight end first, and then one is let through and tells.
        for ticket in flight {
            breaker.heard(ticket, Signal::Silent, now);
        }
        now += COOLDOWN;
        breaker.tick(now);
        let ticket = breaker.admit();
        prop_assert!(ticket.is_some(), "nobody may look");
        breaker.heard(ticket.unwrap(), Signal::Answered, now);
        prop_assert_eq!(breaker.mode(), Mode::Flowing);
    }
}
