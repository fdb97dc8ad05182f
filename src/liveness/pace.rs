use std::time::Duration;

/// Looking takes at most this part of the time.
const PART: u32 = 25;
/// What a look may take longer than the fastest one: a store that has much to do is no reason to
/// look less often, for then there is most to find.
const SLACK: Duration = Duration::from_millis(50);

/// How long a loop rests between looks into the store that rarely find anything.
///
/// While an idle transaction keeps what has died, a look visits all that it would have found since
/// that began, and takes longer and longer. Looking as often as ever would take whole processors
/// then; so the rest grows with what looks take beyond the fastest of them, which is the way to the
/// store and back (50 ms of it at most), up to a bound. A single slow look changes nothing: a stall says nothing about the
/// next one.
#[derive(Debug, Clone)]
pub struct Pace {
    every: Duration,
    longest: Duration,
    fastest: Duration,
    last: Duration,
}

impl Pace {
    /// Rests for `every`, and at most for `longest`.
    #[must_use]
    pub fn new(every: Duration, longest: Duration) -> Self {
        Self {
            every,
            longest,
            fastest: SLACK,
            last: Duration::ZERO,
        }
    }

    /// How long to rest after a look that took so long.
    pub fn rest(&mut self, took: Duration) -> Duration {
        let usual = took.min(std::mem::replace(&mut self.last, took));
        self.fastest = self.fastest.min(took);
        let beyond = usual.saturating_sub(self.fastest + SLACK);
        self.every.max((beyond * PART).min(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn slow_looks_are_fewer_up_to_a_bound() {
        let mut pace = Pace::new(ms(200), ms(2_000));
        assert_eq!(pace.rest(ms(4)), ms(200));
        assert_eq!(pace.rest(ms(94)), ms(200), "the first slow one");
        assert_eq!(
            pace.rest(ms(104)),
            ms(1_000),
            "25 times what is beyond 54 ms"
        );
        assert_eq!(pace.rest(ms(900)), ms(1_250), "as the one before");
        assert_eq!(pace.rest(ms(900)), ms(2_000));
        assert_eq!(pace.rest(ms(5)), ms(200), "over");
    }

    #[test]
    fn neither_a_stall_nor_a_store_far_away_slows_a_loop_down() {
        let mut pace = Pace::new(ms(200), ms(2_000));
        for took in [ms(80), ms(8_000), ms(90), ms(85), ms(9_000), ms(99), ms(98)] {
            assert_eq!(pace.rest(took), ms(200), "{took:?}");
        }
    }

    #[test]
    fn one_that_starts_when_looks_are_slow_already_rests_too() {
        let mut pace = Pace::new(ms(200), ms(2_000));
        pace.rest(ms(140));
        assert_eq!(pace.rest(ms(140)), ms(1_000));
    }
}
