use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest time that is told apart, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// How long something took, over many times: in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many times.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: f64,
    /// 95 of 100.
    pub p95: f64,
    /// 99 of 100.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// Collects times, to three significant digits. As JSON it is how often each was met, so that what
/// several processes or runs have met can be put together.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Vec<(u64, u64)>", from = "Vec<(u64, u64)>")]
pub(super) struct Times(Option<Histogram<u64>>);

impl From<Times> for Vec<(u64, u64)> {
    fn from(times: Times) -> Self {
        let Some(times) = times.0 else {
            return Self::new();
        };
        let recorded = times.iter_recorded();
        let met = recorded.map(|step| (step.value_iterated_to(), step.count_at_value()));
        met.collect()
    }
}

impl From<Vec<(u64, u64)>> for Times {
    fn from(met: Vec<(u64, u64)>) -> Self {
        let mut times = Self::default();
        if let Some(times) = &mut times.0 {
            for (micros, count) in met {
                times.saturating_record_n(micros, count);
            }
        }
        times
    }
}

impl Default for Times {
    fn default() -> Self {
        // The bounds are constants that it takes; without a histogram nothing is counted.
        Self(Histogram::new_with_bounds(1, LONGEST, 3).ok())
    }
}

impl Times {
    pub(super) fn add(&mut self, micros: u64) {
        if let Some(times) = &mut self.0 {
            times.saturating_record(micros.max(1));
        }
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        if let (Some(times), Some(others)) = (&mut self.0, &other.0) {
            // They have the same bounds.
            let _ = times.add(others);
        }
    }

    pub(super) fn latency(&self) -> Latency {
        let Some(times) = &self.0 else {
            return Latency::default();
        };
        let millis = |micros: u64| micros as f64 / 1000.0;
        let quantile = |share| millis(times.value_at_quantile(share));
        Latency {
            count: times.len(),
            p50: quantile(0.50),
            p95: quantile(0.95),
            p99: quantile(0.99),
            max: millis(times.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_added() {
        let (mut times, mut others) = (Times::default(), Times::default());
        (1..=50).for_each(|n| times.add(n * 1000));
        (51..=100).for_each(|n| others.add(n * 1000));
        times.add_all(&others);
        let latency = times.latency();
        let near = |found: f64, wanted: f64| (found - wanted).abs() < wanted / 500.0;
        assert_eq!(latency.count, 100);
        assert!(
            near(latency.p50, 50.0) && near(latency.p95, 95.0),
            "{latency:?}"
        );
        assert!(
            near(latency.p99, 99.0) && near(latency.max, 100.0),
            "{latency:?}"
        );
        let text = serde_json::to_string(&times).unwrap();
        let read: Times = serde_json::from_str(&text).unwrap();
        assert_eq!(read.latency(), latency, "the same after a journey");
        times.add(u64::MAX);
        assert!(near(times.latency().max, 3_600_000.0), "clamped, not lost");
    }
}
