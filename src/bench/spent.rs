use std::time::Duration;

use super::Subject;
use super::report::{Cpu, round};
use super::usage::Tree;

/// Whose time is measured.
pub(super) struct Usage {
    load: Tree,
    intake: Option<Tree>,
    workers: Vec<Tree>,
    broker: Option<Tree>,
    store: Option<Tree>,
}

/// Processor time of each since its start.
pub(super) struct Times([Option<Duration>; 5]);

impl Usage {
    /// Of an embedded bench the one process is the intake.
    pub(super) fn new(subject: Option<&Subject>, intake: Option<Tree>, workers: Vec<Tree>) -> Self {
        let at = |place: &Option<(String, u16)>| {
            let (host, port) = place.as_ref()?;
            Tree::listening(host, *port)
        };
        Self {
            load: Tree::of(std::process::id()),
            intake,
            workers,
            broker: subject.and_then(|subject| at(&subject.broker_at)),
            store: subject.and_then(|subject| at(&subject.store_at)),
        }
    }

    pub(super) fn read(&self) -> Times {
        let cpu = |tree: Option<Tree>| tree.and_then(Tree::cpu);
        let workers = self.workers.iter().map(|tree| tree.cpu());
        let workers = match self.workers.is_empty() {
            true => None,
            false => workers.sum(),
        };
        Times([
            cpu(Some(self.load)),
            cpu(self.intake),
            workers,
            cpu(self.broker),
            cpu(self.store),
        ])
    }
}

impl Times {
    pub(super) fn since(&self, before: &Self, jobs: u64) -> Cpu {
        let spent = |at: usize| {
            let (now, then) = (self.0[at]?, before.0[at]?);
            let micros = now.saturating_sub(then).as_secs_f64() * 1e6;
            Some(round(micros / jobs as f64, 10.0))
        };
        // Our children count for themselves.
        let [load, intake, worker, broker, store] = [0, 1, 2, 3, 4].map(spent);
        let own = intake.map(|intake| round(intake + worker.unwrap_or(0.0), 10.0));
        let children = own.unwrap_or(0.0);
        Cpu {
            intake,
            worker,
            own,
            broker,
            store,
            load: load.map(|load| round((load - children).max(0.0), 10.0)),
        }
    }
}
