//! What the outside world knows: what was accepted, what ran, and which effects it received.

use longshore::job::State as JobState;

use crate::plan::{Finally, JobPlan};
use crate::world::{Micros, SECOND, State};

/// How a handler's run ended, as its process would tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Succeeded,
    Failed,
    Unavailable,
    /// Dropped in the middle.
    Cut,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) host: usize,
    pub(crate) incarnation: u32,
    pub(crate) began: Micros,
    pub(crate) ended: Option<(Micros, Ended)>,
    /// When it handed its mail over.
    pub(crate) mailed: Option<Micros>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) plan: JobPlan,
    pub(crate) accepted: Option<Micros>,
    pub(crate) runs: Vec<Run>,
    /// An operator has asked to cancel it, or sent it back from the dead.
    pub(crate) touched: bool,
}

impl Entry {
    fn ends(&self, how: Ended) -> usize {
        let ended = |run: &&Run| run.ended.is_some_and(|(_, ended)| ended == how);
        self.runs.iter().filter(ended).count()
    }

    pub(crate) fn failed(&self) -> usize {
        self.ends(Ended::Failed)
    }

    pub(crate) fn unavailable(&self) -> usize {
        self.ends(Ended::Unavailable)
    }

    pub(crate) fn mails(&self) -> usize {
        self.runs.iter().filter(|run| run.mailed.is_some()).count()
    }
}

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) jobs: Vec<Entry>,
    pub(crate) junk: usize,
    /// Messages that nobody but the broker knew may be lost.
    pub(crate) broker_lost: bool,
}

impl Ledger {
    pub(crate) fn new(plans: &[JobPlan]) -> Self {
        let entry = |plan: &JobPlan| Entry {
            plan: *plan,
            accepted: None,
            runs: Vec::new(),
            touched: false,
        };
        Self {
            jobs: plans.iter().map(entry).collect(),
            junk: 0,
            broker_lost: false,
        }
    }
}

impl State {
    /// A handler starts; returns the number of its run.
    pub(crate) fn run_begins(
        &mut self,
        n: usize,
        host: usize,
        incarnation: u32,
        dispatch: i32,
    ) -> usize {
        let now = self.now;
        self.trace.note(now, || {
            format!("job {n} runs on host {host}, dispatch {dispatch}")
        });
        if let Some(what) = self.wrong_start(n, host, incarnation, dispatch) {
            self.violated(what);
        }
        let runs = &mut self.ledger.jobs[n].runs;
        runs.push(Run {
            host,
            incarnation,
            began: now,
            ended: None,
            mailed: None,
        });
        runs.len() - 1
    }

    /// Why this job may not start here and now.
    fn wrong_start(
        &self,
        n: usize,
        host: usize,
        incarnation: u32,
        dispatch: i32,
    ) -> Option<String> {
        if let Some(run) = self.overlapping(n) {
            return Some(format!(
                "P4: job {n} starts on host {host} while it runs on host {}, which is alive and undisturbed",
                run.host
            ));
        }
        if self.disturbed_since(host, self.now) {
            return None;
        }
        let Some((_, row)) = self.db.of_plan(n) else {
            return Some(format!("P1: job {n} starts and the store does not know it"));
        };
        if row.dispatch != dispatch {
            return Some(format!(
                "P3: job {n} starts by a message of dispatch {dispatch}; the store is at {}",
                row.dispatch
            ));
        }
        let owner = row.owner.and_then(|owner| self.db.processes.get(&owner));
        let ours =
            owner.is_some_and(|owner| (owner.host, owner.incarnation) == (host, incarnation));
        if row.state != JobState::Running || !ours {
            return Some(format!(
                "P3: job {n} starts on host {host}; in the store it is {} and owned by {:?}",
                row.state, row.owner
            ));
        }
        None
    }

    /// A run of this job that goes on, in a process that nobody may take for dead.
    fn overlapping(&self, n: usize) -> Option<&Run> {
        self.ledger.jobs[n].runs.iter().find(|run| {
            let there = &self.hosts[run.host];
            run.ended.is_none()
                && there.up
                && !there.doomed
                && there.incarnation == run.incarnation
                && !self.disturbed_since(run.host, run.began)
        })
    }

    pub(crate) fn run_ends(&mut self, n: usize, run: usize, how: Ended) {
        let now = self.now;
        let ended = &mut self.ledger.jobs[n].runs[run].ended;
        if ended.is_none() {
            *ended = Some((now, how));
            self.trace
                .note(now, || format!("job {n} run {run}: {how:?}"));
        }
    }

    /// A mail arrives.
    pub(crate) fn mailed(&mut self, n: usize, run: usize) {
        let now = self.now;
        self.trace
            .note(now, || format!("job {n} run {run} sends its mail"));
        self.ledger.jobs[n].runs[run].mailed = Some(now);
        // Another mail may only follow one whose outcome was unknown.
        let known = self.ledger.jobs[n].runs[..run].iter().find(|earlier| {
            let there = &self.hosts[earlier.host];
            earlier.mailed.is_some()
                && there.up
                && there.incarnation == earlier.incarnation
                && !there.doomed
                && !self.disturbed_since(earlier.host, earlier.began)
                && !earlier.ended.is_some_and(|(_, how)| how == Ended::Cut)
        });
        if let Some(known) = known
            && !self.ledger.jobs[n].touched
        {
            let host = known.host;
            self.violated(format!(
                "P3: job {n} mails again, though host {host} was alive to record the first"
            ));
        }
    }

    /// What must hold of every job once everything has come to rest.
    pub(crate) fn balance(&mut self) {
        let mut wrong = Vec::new();
        for (n, entry) in self.ledger.jobs.iter().enumerate() {
            wrong.extend(
                self.wrong_end(n, entry)
                    .map(|what| format!("job {n}: {what}")),
            );
        }
        let (accepted, kept) = (self.db.accepted, self.db.jobs.len() as u64 + self.db.pruned);
        if accepted != kept {
            wrong.push(format!("P9: {accepted} accepted, {kept} accounted for"));
        }
        let dead_junk = self
            .db
            .jobs
            .values()
            .filter(|row| row.plan.is_none())
            .count();
        if dead_junk < self.ledger.junk && !self.ledger.broker_lost && self.forgotten.is_none() {
            let junk = self.ledger.junk;
            wrong.push(format!(
                "P7: {junk} bad messages, {dead_junk} of them kept as dead"
            ));
        }
        for what in wrong {
            self.violated(what);
        }
    }

    fn wrong_end(&self, n: usize, entry: &Entry) -> Option<String> {
        let forgotten = self.forgotten.is_some();
        let rows = self
            .db
            .jobs
            .values()
            .filter(|row| row.plan == Some(n))
            .count();
        if rows > 1 {
            return Some(format!("P3: {rows} rows for one submission"));
        }
        let Some((_, row)) = self.db.of_plan(n) else {
            let lost_with_the_failover = self
                .forgotten
                .zip(entry.accepted)
                .is_some_and(|((from, to), at)| from <= at && at <= to + SECOND);
            let on_the_broker_alone = entry.plan.foreign && (self.ledger.broker_lost || forgotten);
            let lost = lost_with_the_failover || on_the_broker_alone;
            return (entry.accepted.is_some() && !lost)
                .then(|| "P1: accepted, and gone".to_owned());
        };
        if !row.state.is_final() {
            return Some(format!("P2: still {} at rest", row.state));
        }
        let effects =
            u32::from(row.state == JobState::Succeeded && entry.plan.finally == Finally::Row);
        if row.effects != effects {
            return Some(format!(
                "P3: {}, and its row changed {} times",
                row.state, row.effects
            ));
        }
        if row.state == JobState::Succeeded
            && entry.plan.finally == Finally::Mail
            && entry.mails() == 0
        {
            return Some("P3: succeeded without its mail".to_owned());
        }
        if entry.touched || forgotten {
            return None;
        }
        if usize::try_from(row.failures).unwrap() > entry.failed() {
            return Some(format!(
                "P6: {} attempts counted, {} runs failed",
                row.failures,
                entry.failed()
            ));
        }
        let doomed = matches!(entry.plan.finally, Finally::Permanent | Finally::Never);
        let expected = match doomed {
            true => JobState::Dead,
            false => JobState::Succeeded,
        };
        (row.state != expected).then(|| format!("P7: ended {} instead of {expected}", row.state))
    }

    /// With nothing but a crash, what it cut off runs again within 15 s.
    pub(crate) fn recovery(&mut self) {
        let mut late = Vec::new();
        for (n, entry) in self.ledger.jobs.iter().enumerate() {
            for (at, run) in entry.runs.iter().enumerate() {
                let Some((cut, Ended::Cut)) = run.ended else {
                    continue;
                };
                let row = self.db.of_plan(n).map(|(_, row)| row);
                let next = entry.runs.get(at + 1).map(|next| next.began);
                // Its success had been committed; only the answer was cut off.
                let done = row.is_some_and(|row| row.finished.is_some_and(|end| end <= cut));
                let took = next.map(|next| next - cut);
                if !done && took.is_none_or(|took| took > 15 * SECOND) {
                    late.push(format!(
                        "P5: job {n} was cut off and ran again after {took:?} µs"
                    ));
                }
            }
        }
        for what in late {
            self.violated(what);
        }
    }
}
