//! The one source of randomness of a simulation.

use std::ops::Range;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn range(&mut self, range: Range<u64>) -> u64 {
        range.start + self.bits() % (range.end - range.start).max(1)
    }

    /// True in so many of a million cases.
    pub(crate) fn in_a_million(&mut self, cases: u32) -> bool {
        cases > 0 && self.range(0..1_000_000) < u64::from(cases)
    }

    pub(crate) fn percent(&mut self, cases: u32) -> bool {
        self.in_a_million(cases * 10_000)
    }

    /// In `0.0..1.0`.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.range(0..1 << 32) as f64 / (1_u64 << 32) as f64
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.range(0..from.len() as u64);
        from[usize::try_from(at).unwrap()]
    }
}
