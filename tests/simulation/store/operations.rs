//! What operators do: cancel, and send back all that is dead, step by step.

use async_trait::async_trait;
use longshore::job::{Cancelling, JobId, ProcessId, State as JobState, UniqueKey};
use longshore::store::{
    Action, Advance, Begun, DeadGroup, Edit, JobFilter, NewOperation, Operated, Operation,
    OperationCommand, OperationId, OperationState, Operations, StepBy, StoreResult,
};
use uuid::Uuid;

use super::SimulatedStore;
use super::db::{Db, moment, span};
use super::unused;
use crate::world::Micros;

/// Jobs of one step: few, so that an operation takes several.
const STEP: usize = 2;

/// A bulk requeue of all that is dead.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    id: OperationId,
    begun: Micros,
    place: Option<JobId>,
    holder: Option<Uuid>,
    held_until: Micros,
    entry: Option<i64>,
    done: u64,
    ended: bool,
}

impl Task {
    fn view(&self, now: Micros) -> Operation {
        Operation {
            id: self.id,
            action: Action::Requeue,
            state: match self.ended {
                true => OperationState::Done,
                false => OperationState::Running,
            },
            filter: Some(JobFilter::default()),
            limit: None,
            rate: None,
            created_by: "the simulation".to_owned(),
            created_at: moment(self.begun),
            changed_by: None,
            changed_at: None,
            finished_at: self.ended.then(|| moment(now)),
            matched: 0,
            done: self.done,
            skipped: 0,
            failed: 0,
        }
    }
}

impl Db {
    pub(crate) fn begin_requeue(&mut self, now: Micros) {
        self.tasks.push(Task {
            id: OperationId::new(),
            begun: now,
            place: None,
            holder: None,
            held_until: now,
            entry: None,
            done: 0,
            ended: false,
        });
    }

    pub(crate) fn operations_are_done(&self) -> bool {
        self.tasks.iter().all(|task| task.ended)
    }

    pub(crate) fn dead(&self) -> Vec<usize> {
        let dead = self.jobs.values().filter(|row| row.state == JobState::Dead);
        dead.filter_map(|row| row.plan).collect()
    }

    pub(crate) fn cancel(&mut self, now: Micros, id: JobId) -> Option<Operated> {
        if self.is_locked(now, id) {
            return None;
        }
        let Some(row) = self.jobs.get_mut(&id) else {
            return Some(Operated::Unknown);
        };
        Some(match row.state.cancelling() {
            Cancelling::AtOnce => {
                row.become_(JobState::Cancelled);
                row.due = None;
                row.finished = Some(now);
                Operated::Done
            }
            Cancelling::ByItsWorker => {
                row.cancel_requested = true;
                Operated::Requested
            }
            Cancelling::Already => Operated::Already,
            Cancelling::TooLate => Operated::Refused(row.state),
        })
    }

    fn send_back(&mut self, now: Micros, id: JobId) {
        if let Some(row) = self.jobs.get_mut(&id) {
            row.become_(JobState::Queued);
            row.dispatch += 1;
            row.failures = 0;
            row.crashes = 0;
            row.postponed = None;
            row.queued = now;
            row.finished = None;
            row.cancel_requested = false;
        }
    }

    fn advance(&mut self, now: Micros, by: &StepBy) -> Option<Advance> {
        let ready = |task: &Task| {
            !task.ended && (task.holder == Some(by.executor) || task.held_until <= now)
        };
        let at = self.tasks.iter().position(ready)?;
        let mut task = self.tasks[at].clone();
        let taken_over = task.holder != Some(by.executor);
        task.holder = Some(by.executor);
        task.held_until = now + span(by.hold);
        let again = task.entry.filter(|_| taken_over);
        if let Some(entry) = again.and_then(|id| self.lease_again(id, now + span(by.lease))) {
            let operation = task.view(now);
            self.tasks[at] = task;
            let entry = Some(entry);
            return Some(Advance { operation, entry });
        }
        let (ids, last) = self.pick(&task);
        for id in &ids {
            self.send_back(now, *id);
        }
        let entry = self.leased(now, by.lease, &ids);
        task.done += ids.len() as u64;
        task.place = ids.last().copied().or(task.place);
        task.entry = entry.as_ref().map(|entry| entry.id.0);
        task.ended = last;
        let operation = task.view(now);
        self.tasks[at] = task;
        Some(Advance { operation, entry })
    }

    /// The next dead jobs, which were dead when it began, and whether they are the last.
    fn pick(&self, task: &Task) -> (Vec<JobId>, bool) {
        let dead: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(id, _)| task.place.is_none_or(|place| **id > place))
            .filter(|(_, row)| row.state == JobState::Dead && row.plan.is_some())
            .filter(|(_, row)| row.finished.is_some_and(|at| at <= task.begun))
            .map(|(id, _)| *id)
            .take(STEP)
            .collect();
        let last = dead.len() < STEP;
        (dead, last)
    }
}

#[async_trait]
impl Operations for SimulatedStore {
    async fn cancel(&self, _: JobId, _: &str) -> StoreResult<Operated> {
        unused()
    }

    async fn requeue(&self, _: JobId, _: Option<&Edit>, _: &str) -> StoreResult<Operated> {
        unused()
    }

    async fn count_dead(&self, _: &JobFilter) -> StoreResult<u64> {
        unused()
    }

    async fn dead_groups(&self, _: &JobFilter, _: u32, _: u32) -> StoreResult<Vec<DeadGroup>> {
        unused()
    }

    async fn begin(&self, _: &NewOperation) -> StoreResult<Operation> {
        unused()
    }

    async fn begin_once(&self, _: &NewOperation, _: &UniqueKey) -> StoreResult<Begun> {
        unused()
    }

    async fn operation(&self, _: OperationId) -> StoreResult<Option<Operation>> {
        unused()
    }

    async fn operations(&self, _: u32, _: Option<OperationId>) -> StoreResult<Vec<Operation>> {
        unused()
    }

    async fn command(
        &self,
        _: OperationId,
        _: OperationCommand,
        _: &str,
    ) -> StoreResult<Option<Operation>> {
        unused()
    }

    async fn cancel_requests(&self, process: ProcessId) -> StoreResult<Vec<(JobId, i32)>> {
        self.look("cancel requests", |state| {
            let ours = state.db.owned(process);
            let asked = |(id, _): &(JobId, i32)| state.db.jobs[id].cancel_requested;
            ours.into_iter().filter(asked).collect()
        })
        .await
    }

    async fn advance(&self, by: &StepBy, _: Option<OperationId>) -> StoreResult<Option<Advance>> {
        self.look("advance", |state| {
            let now = state.now;
            let advance = state.db.advance(now, by);
            if advance.is_some() {
                state
                    .trace
                    .note(now, || "a step of a bulk requeue".to_owned());
            }
            advance
        })
        .await
    }
}
