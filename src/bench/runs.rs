use serde_json::Value;

use super::Timings;
use super::error::BenchError;
use super::latency::{Latency, Times};
use super::median::median;
use super::report::Report;

/// How long things took in one run, each time of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Timed {
    pub(super) call: Times,
    pub(super) accepted: Times,
    pub(super) done: Timings,
}

impl Timed {
    fn add_all(&mut self, other: &Self) {
        self.call.add_all(&other.call);
        self.accepted.add_all(&other.accepted);
        self.done.add_all(&other.done);
    }

    /// Fills the latencies in; none of what did not happen.
    pub(super) fn tell(&self, report: &mut Report) {
        let timed = |times: &Times| {
            let latency: Latency = times.latency();
            (latency.count > 0).then_some(latency)
        };
        report.enqueue_single_latency = timed(&self.call);
        report.accepted = timed(&self.accepted);
        report.started = timed(&self.done.start);
        report.done = timed(&self.done.end);
    }
}

/// One report of all runs: medians, and percentiles of all their jobs together.
pub(super) fn together(runs: Vec<(Report, Timed)>) -> Result<Report, BenchError> {
    let values: Result<Vec<Value>, _> = runs
        .iter()
        .map(|run| serde_json::to_value(&run.0))
        .collect();
    let values = values.map_err(BenchError::Figures)?;
    let all: Vec<&Value> = values.iter().collect();
    let mut report: Report = serde_json::from_value(median(&all)).map_err(BenchError::Figures)?;
    let mut timed = Timed::default();
    runs.iter().for_each(|run| timed.add_all(&run.1));
    timed.tell(&mut report);
    report.runs = runs.into_iter().map(|run| run.0).collect();
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Limit;

    #[test]
    fn shares_are_those_of_each_run_and_latencies_those_of_all_jobs() {
        let run = |share: f64, micros: u64| {
            let mut report = Report {
                version: "1".to_owned(),
                limit: Some(Limit {
                    share,
                    ..Limit::default()
                }),
                ..Report::default()
            };
            let mut timed = Timed::default();
            timed.accepted.add(micros);
            timed.tell(&mut report);
            (report, timed)
        };
        let runs = vec![run(0.5, 1_000), run(0.9, 9_000), run(0.6, 2_000)];
        let report = together(runs).unwrap();
        assert!((report.limit.unwrap().share - 0.6).abs() < 1e-9);
        let accepted = report.accepted.unwrap();
        assert_eq!(accepted.count, 3);
        assert!(accepted.max > 8.9 && accepted.p50 < 2.1);
        assert_eq!(report.runs.len(), 3);
        assert!(report.runs[1].accepted.unwrap().p50 > 8.9);
        assert_eq!(report.done, None);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
