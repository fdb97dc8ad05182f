use std::time::Duration;

use longshore::job::{Claimed, JobId, ProcessId, State, Transition};
use longshore::store::{Claim, ClaimRequest, Record};

use super::db::{Db, Row, moment, span};
use crate::world::{Bug, Micros};

/// Later than any silence after which a process may be declared dead, by a clock that may run
/// a turn ahead.
const SILENCE: Micros = 9_400_000;

impl Db {
    pub(super) fn bury(
        &mut self,
        now: Micros,
        process: i64,
        counter: i64,
        forgot_beats: bool,
        bug: Option<Bug>,
    ) -> Result<Option<u64>, String> {
        let Some(row) = self.processes.get_mut(&process) else {
            return Ok(None);
        };
        let stands = row.counter == counter || bug == Some(Bug::UnfencedRescue);
        if !row.alive || !stands {
            return Ok(None);
        }
        // After a failover a counter may come to a value that was read before.
        if now - row.beat < SILENCE && !forgot_beats {
            return Err(format!(
                "P4: process {process} on host {} is declared dead {:.1} s after its last beat",
                row.host,
                (now - row.beat) as f64 / 1e6
            ));
        }
        row.alive = false;
        Ok(Some(self.free(now, process, true, bug)))
    }

    pub(super) fn retire(&mut self, now: Micros, process: i64) -> u64 {
        if let Some(row) = self.processes.get_mut(&process) {
            row.alive = false;
        }
        self.free(now, process, false, None)
    }

    fn free(&mut self, now: Micros, process: i64, crashed: bool, bug: Option<Bug>) -> u64 {
        let mut freed = Vec::new();
        for (id, row) in &mut self.jobs {
            if row.owner != Some(process) || row.state != State::Running {
                continue;
            }
            if row.cancel_requested {
                row.become_(State::Cancelled);
                row.finished = Some(now);
                continue;
            }
            row.become_(State::Queued);
            row.crashes += u32::from(crashed);
            row.failures += u32::from(crashed && bug == Some(Bug::CrashBurnsAttempt));
            row.queued = now;
            freed.push((*id, row.dispatch));
        }
        let count = freed.len() as u64;
        if count > 0 {
            self.enter(now, Duration::ZERO, true, freed);
        }
        count
    }

    pub(super) fn claim(
        &mut self,
        now: Micros,
        process: ProcessId,
        requests: &[ClaimRequest],
        bug: Option<Bug>,
    ) -> Vec<Claim> {
        let alive = self.processes.get(&process.0).is_some_and(|row| row.alive);
        let mut taken: Vec<JobId> = Vec::new();
        let mut won: Vec<Option<Claim>> = Vec::new();
        for request in requests {
            let claim = self
                .jobs
                .get_mut(&request.id)
                .filter(|row| {
                    alive && !taken.contains(&request.id) && fits(row, process, request, bug)
                })
                .map(|row| Claim::Won(take(row, now, process)));
            taken.extend(claim.as_ref().map(|_| request.id));
            won.push(claim);
        }
        let answer = |(claim, request): (Option<Claim>, &ClaimRequest)| {
            claim.unwrap_or_else(|| Claim::Lost(self.standing(request.id)))
        };
        won.into_iter().zip(requests).map(answer).collect()
    }

    pub(super) fn record(
        &mut self,
        now: Micros,
        records: &[Record],
        bug: Option<Bug>,
    ) -> Vec<bool> {
        let mut handed_back = Vec::new();
        let answers = records
            .iter()
            .map(|record| {
                let Some(row) = self.jobs.get_mut(&record.id) else {
                    return false;
                };
                let owned = row.owner == Some(record.owner.0) && row.epoch == record.epoch;
                let fenced = owned || bug == Some(Bug::NoEpochCheck);
                if !fenced || row.state != State::Running {
                    return false;
                }
                end(row, now, &record.transition);
                if row.state == State::Queued {
                    handed_back.push((record.id, row.dispatch));
                }
                true
            })
            .collect();
        if !handed_back.is_empty() {
            self.enter(now, Duration::ZERO, true, handed_back);
        }
        answers
    }

    pub(super) fn owned(&self, process: ProcessId) -> Vec<(JobId, i32)> {
        let ours = |row: &Row| row.owner == Some(process.0) && row.state == State::Running;
        let rows = self.jobs.iter().filter(|(_, row)| ours(row));
        rows.map(|(id, row)| (*id, row.epoch)).collect()
    }
}

fn fits(row: &Row, process: ProcessId, request: &ClaimRequest, bug: Option<Bug>) -> bool {
    if bug == Some(Bug::NoDispatchCheck) && row.state == State::Queued {
        return true;
    }
    let over = row.owner == Some(process.0) && Some(row.epoch) == request.over_epoch;
    row.dispatch == request.dispatch
        && (row.state == State::Queued || (row.state == State::Running && over))
}

fn take(row: &mut Row, now: Micros, process: ProcessId) -> Claimed {
    row.become_(State::Running);
    row.epoch += 1;
    row.owner = Some(process.0);
    Claimed {
        owner: process,
        epoch: row.epoch,
        failures: row.failures,
        // No handler of the simulation asks how often it failed before it was sent back.
        earlier_failures: 0,
        crashes: row.crashes,
        max_attempts: row.max_attempts,
        created_at: moment(row.created),
        queued_at: moment(row.queued),
        started_at: moment(now),
        postponed_for: row
            .postponed
            .map(|since| Duration::from_micros(now - since)),
    }
}

fn end(row: &mut Row, now: Micros, transition: &Transition) {
    let transition = match row.cancel_requested {
        true => transition.clone().under_cancellation(),
        false => transition.clone(),
    };
    let target = transition.target();
    row.become_(target);
    row.finished = target.is_final().then_some(now);
    row.due = None;
    match transition {
        Transition::Retry { after, .. } => {
            row.failures += 1;
            row.due = Some(now + span(after));
            row.postponed = None;
        }
        Transition::Postpone { after, .. } => {
            row.due = Some(now + span(after));
            row.postponed.get_or_insert(now);
        }
        Transition::Die { .. } => row.failures += 1,
        Transition::Cancel { failure } => row.failures += u32::from(failure.is_some()),
        Transition::HandBack => row.queued = now,
        _ => {}
    }
}
