use std::time::{Duration, Instant};

use super::error::BenchError;
use super::measure::Watch;
use super::process::{BenchProcess, ProcessError};
use super::usage::Tree;
use super::{Reading, Timings};

/// How often it is looked how far the jobs are.
const LOOK: Duration = Duration::from_millis(50);
/// How long nothing may move before it counts as stuck.
pub(super) const STUCK: Duration = Duration::from_secs(60);

/// The processes that run the jobs, as one.
pub(super) struct Workers(pub(super) Vec<BenchProcess>);

impl Workers {
    pub(super) async fn reset(&mut self) -> Result<(), ProcessError> {
        for worker in &mut self.0 {
            worker.reset().await?;
        }
        Ok(())
    }

    pub(super) async fn timings(&mut self) -> Result<Timings, ProcessError> {
        let mut all = Timings::default();
        for worker in &mut self.0 {
            all.add_all(&worker.timings().await?);
        }
        Ok(all)
    }

    pub(super) fn trees(&self) -> Vec<Tree> {
        self.0.iter().filter_map(BenchProcess::tree).collect()
    }

    /// Of the one that has most: resident memory now, and the highest of any.
    pub(super) fn memory(&self) -> Option<(u64, u64)> {
        let each = self.trees().into_iter().filter_map(Tree::memory);
        each.reduce(|(now, peak), (n, p)| (now.max(n), peak.max(p)))
    }

    pub(super) async fn stop(self) {
        let stopping = self.0.into_iter().map(BenchProcess::stop);
        futures::future::join_all(stopping).await;
    }

    /// Waits until they have brought so many jobs to their end.
    pub(super) async fn finished(
        &mut self,
        wanted: u64,
        what: &str,
        watch: Watch<'_>,
    ) -> Result<Reading, BenchError> {
        let (mut moved, mut last) = (Instant::now(), 0);
        loop {
            let mut reading = Reading::default();
            for worker in &mut self.0 {
                reading = reading.and(worker.read().await?);
            }
            watch(what, reading.done, wanted);
            if reading.done >= wanted {
                return Ok(reading);
            }
            if reading.done != last {
                (moved, last) = (Instant::now(), reading.done);
            } else if moved.elapsed() > STUCK {
                return Err(BenchError::Stuck { done: last, wanted });
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
