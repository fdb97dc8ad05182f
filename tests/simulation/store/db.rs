use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use longshore::job::{
    JobId, Kind, NewJob, Priority, Publication, QueueName, Standing, Start, State,
};
use longshore::store::{DeadLetter, Inserted, OutboxEntry, OutboxId};

use super::operations::Task;
use crate::plan::EPOCH_MILLIS;
use crate::world::Micros;

#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Which planned job it is, by its payload; none for a bad message.
    pub(crate) plan: Option<usize>,
    pub(crate) kind: Kind,
    pub(crate) queue: QueueName,
    pub(crate) priority: Priority,
    pub(crate) payload: Bytes,
    pub(crate) state: State,
    pub(crate) dispatch: i32,
    pub(crate) epoch: i32,
    pub(crate) owner: Option<i64>,
    pub(crate) failures: u32,
    pub(crate) crashes: u32,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) created: Micros,
    pub(crate) queued: Micros,
    pub(crate) due: Option<Micros>,
    pub(crate) finished: Option<Micros>,
    pub(crate) postponed: Option<Micros>,
    pub(crate) cancel_requested: bool,
    /// How often the row of its effect was changed.
    pub(crate) effects: u32,
    /// The handler's transaction that holds it, and since when.
    pub(crate) lock: Option<(u64, Micros)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) created: Micros,
    pub(crate) leased_until: Micros,
    pub(crate) high: bool,
    pub(crate) jobs: Vec<(JobId, i32)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) host: usize,
    pub(crate) incarnation: u32,
    pub(crate) counter: i64,
    pub(crate) beat: Micros,
    pub(crate) alive: bool,
}

/// Sequences, which no failover turns back.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sequences {
    pub(crate) process: i64,
    pub(crate) outbox: i64,
    pub(crate) effect: u64,
}

/// The database: what is committed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Db {
    pub(crate) jobs: BTreeMap<JobId, Row>,
    pub(crate) outbox: BTreeMap<i64, Entry>,
    pub(crate) processes: BTreeMap<i64, Process>,
    pub(crate) keys: BTreeMap<(String, String), (JobId, Vec<u8>)>,
    pub(crate) paused: BTreeSet<String>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) accepted: u64,
    pub(crate) pruned: u64,
    pub(crate) next: Sequences,
}

pub(super) fn moment(at: Micros) -> DateTime<Utc> {
    let epoch = DateTime::from_timestamp_millis(EPOCH_MILLIS).unwrap();
    epoch + TimeDelta::microseconds(i64::try_from(at).unwrap())
}

pub(super) fn micros(moment: DateTime<Utc>) -> Micros {
    let since = moment.timestamp_micros() - EPOCH_MILLIS * 1000;
    u64::try_from(since).unwrap_or_default()
}

pub(super) fn span(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap()
}

/// `{"n":7}`
fn planned(payload: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(payload).ok()?;
    text.strip_prefix("{\"n\":")?
        .strip_suffix('}')?
        .parse()
        .ok()
}

impl Row {
    fn new(kind: Kind, queue: QueueName, payload: Bytes, now: Micros) -> Self {
        Self {
            plan: planned(&payload),
            kind,
            queue,
            priority: Priority::Normal,
            payload,
            state: State::Queued,
            dispatch: 1,
            epoch: 0,
            owner: None,
            failures: 0,
            crashes: 0,
            max_attempts: None,
            created: now,
            queued: now,
            due: None,
            finished: None,
            postponed: None,
            cancel_requested: false,
            effects: 0,
            lock: None,
        }
    }

    pub(super) fn publication(&self, id: JobId) -> Publication {
        Publication {
            id,
            kind: self.kind.clone(),
            queue: self.queue.clone(),
            priority: self.priority,
            dispatch: self.dispatch,
            traceparent: None,
            payload: self.payload.clone(),
        }
    }

    /// Only as the state machine allows.
    pub(super) fn become_(&mut self, next: State) {
        assert!(
            self.state.may_become(next),
            "the store was made to move a job from {} to {next}",
            self.state
        );
        self.state = next;
    }
}

impl Db {
    /// The row of a planned job, by whatever id it was accepted.
    pub(crate) fn of_plan(&self, n: usize) -> Option<(JobId, &Row)> {
        let found = self.jobs.iter().find(|(_, row)| row.plan == Some(n));
        found.map(|(id, row)| (*id, row))
    }

    pub(super) fn standing(&self, id: JobId) -> Option<Standing> {
        let row = self.jobs.get(&id)?;
        let running = row.state == State::Running;
        Some(Standing {
            state: row.state,
            dispatch: row.dispatch,
            epoch: row.epoch,
            owner: row.owner.filter(|_| running).map(longshore::job::ProcessId),
        })
    }

    /// What became of each job, and the entry of those to publish.
    pub(crate) fn insert(
        &mut self,
        now: Micros,
        jobs: &[NewJob],
        lease: Duration,
    ) -> (Vec<Inserted>, Option<OutboxId>) {
        let mut queued = Vec::new();
        let answers = jobs
            .iter()
            .map(|job| self.insert_one(now, job, &mut queued))
            .collect();
        let entry = (!queued.is_empty()).then(|| self.enter(now, lease, false, queued));
        (answers, entry)
    }

    fn insert_one(
        &mut self,
        now: Micros,
        job: &NewJob,
        queued: &mut Vec<(JobId, i32)>,
    ) -> Inserted {
        if let Some(unique) = &job.unique {
            let key = (unique.scope.clone(), unique.key.clone());
            match self.keys.get(&key) {
                Some((id, print)) if *print == unique.fingerprint => {
                    return Inserted::Replayed { id: *id };
                }
                Some((id, _)) => return Inserted::KeyReused { id: *id },
                None if self.jobs.contains_key(&job.id) => {}
                None => {
                    self.keys.insert(key, (job.id, unique.fingerprint.clone()));
                }
            }
        }
        if self.jobs.contains_key(&job.id) {
            return Inserted::Replayed { id: job.id };
        }
        let due = match job.start {
            Start::Now => None,
            Start::At(at) => Some(micros(at)),
            Start::After(delay) => Some(now + span(delay)),
        };
        let mut row = Row::new(
            job.kind.clone(),
            job.queue.clone(),
            job.payload.clone(),
            now,
        );
        row.priority = job.priority;
        row.max_attempts = job.max_attempts;
        row.due = due.filter(|due| *due > now);
        if row.due.is_some() {
            row.state = State::Scheduled;
            row.dispatch = 0;
        } else {
            queued.push((job.id, 1));
        }
        let state = row.state;
        self.jobs.insert(job.id, row);
        self.accepted += 1;
        Inserted::Accepted {
            created_at: moment(now),
            state,
        }
    }

    pub(super) fn insert_dead(&mut self, now: Micros, letter: &DeadLetter) {
        if let Some(unique) = &letter.unique {
            let key = (unique.scope.clone(), unique.key.clone());
            if self.keys.contains_key(&key) {
                return;
            }
            self.keys
                .insert(key, (letter.id, unique.fingerprint.clone()));
        }
        if self.jobs.contains_key(&letter.id) {
            return;
        }
        let kind = letter
            .kind
            .parse()
            .unwrap_or_else(|_| "unknown".parse().unwrap());
        let mut row = Row::new(
            kind,
            letter.queue.clone(),
            letter.payload.clone().into(),
            now,
        );
        row.state = State::Dead;
        row.dispatch = 0;
        row.finished = Some(now);
        self.jobs.insert(letter.id, row);
        self.accepted += 1;
    }

    pub(super) fn restore(&mut self, now: Micros, lost: &Publication) -> bool {
        let Some(row) = self.jobs.get_mut(&lost.id) else {
            let mut row = Row::new(
                lost.kind.clone(),
                lost.queue.clone(),
                lost.payload.clone(),
                now,
            );
            row.priority = lost.priority;
            row.dispatch = lost.dispatch;
            self.jobs.insert(lost.id, row);
            self.accepted += 1;
            return true;
        };
        let waits = matches!(
            row.state,
            State::Scheduled | State::Queued | State::Retrying
        );
        if !waits || row.dispatch >= lost.dispatch {
            return false;
        }
        row.state = State::Queued;
        row.dispatch = lost.dispatch;
        row.queued = now;
        row.due = None;
        true
    }

    pub(super) fn leased(
        &mut self,
        now: Micros,
        lease: Duration,
        ids: &[JobId],
    ) -> Option<OutboxEntry> {
        let publications: Vec<_> = ids
            .iter()
            .map(|id| self.jobs[id].publication(*id))
            .collect();
        if publications.is_empty() {
            return None;
        }
        let jobs = publications.iter().map(|p| (p.id, p.dispatch)).collect();
        let id = self.enter(now, lease, false, jobs);
        Some(OutboxEntry { id, publications })
    }
}
