use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Meter;
use crate::config::{BENCH_KIND, BENCH_QUEUE};
use crate::job::{Done, JobResult};
use crate::worker::{Attempt, Job};

/// A job that does nothing but tell that it was started.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Noop {
    /// When it was due to be submitted: microseconds since 1970 on this machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// Makes the payload as long as it is to be.
    #[serde(default)]
    pub pad: String,
}

/// The bench's queues, from 0: `bench`, `bench-2`, `bench-3`.
#[must_use]
pub fn queue(number: usize) -> String {
    numbered(BENCH_QUEUE, number)
}

/// The kind whose jobs go to the [`queue`] of that number.
#[must_use]
pub fn kind(measured: &str, number: usize) -> String {
    numbered(measured, number)
}

fn numbered(name: &str, number: usize) -> String {
    match number {
        0 => name.to_owned(),
        number => format!("{name}-{}", number + 1),
    }
}

/// What a payload weighs without its pad and its time: `{"pad":""}`.
const FRAME: usize = 10;

impl Noop {
    /// One whose payload without a time is this long, or as short as can be.
    #[must_use]
    pub fn of_size(bytes: usize) -> Self {
        Self {
            at: None,
            pad: "x".repeat(bytes.saturating_sub(FRAME)),
        }
    }
}

impl Job for Noop {
    const KIND: &'static str = BENCH_KIND;
    type Context = Meter;

    async fn run(self, meter: &Meter, attempt: &Attempt) -> JobResult {
        meter.started(attempt.job_id(), self.at);
        Ok(Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_as_long_as_it_is_to_be() {
        for bytes in [10, 11, 200, 5_000] {
            let payload = serde_json::to_vec(&Noop::of_size(bytes)).unwrap();
            assert_eq!(payload.len(), bytes);
        }
        assert_eq!(serde_json::to_vec(&Noop::of_size(0)).unwrap().len(), FRAME);
    }
}
