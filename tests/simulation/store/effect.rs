//! A handler's own transaction: the row of its effect and the job's success.

use async_trait::async_trait;
use longshore::job::{NewJob, State as JobState};
use longshore::store::{
    Connection, DatabaseError, Effect, Effects, Fence, StoreError, StoreResult,
};
use serde_json::Value;

use super::db::Db;
use super::{SimulatedStore, unavailable};
use crate::world::{Bug, Micros, State};

/// How long the database lets a transaction that holds a lock do nothing.
const IDLE: Micros = 5_000_000;

#[derive(Debug)]
struct SimulatedEffect {
    store: SimulatedStore,
    fence: Fence,
    number: u64,
    succeeds: bool,
}

impl Db {
    /// Whether somebody holds the row. A holder that has been idle for too long is ended.
    pub(super) fn is_locked(&mut self, now: Micros, id: longshore::job::JobId) -> bool {
        let Some(row) = self.jobs.get_mut(&id) else {
            return false;
        };
        row.lock = row.lock.filter(|(_, since)| now < since + IDLE);
        row.lock.is_some()
    }

    fn unlock(&mut self, number: u64) {
        for row in self.jobs.values_mut() {
            row.lock = row.lock.filter(|(holder, _)| *holder != number);
        }
    }
}

fn holds(state: &State, fence: Fence) -> bool {
    state.db.jobs.get(&fence.id).is_some_and(|row| {
        let owned = row.owner == Some(fence.owner.0) && row.epoch == fence.epoch;
        (row.state == JobState::Running && owned) || state.bug == Some(Bug::UnfencedEffect)
    })
}

#[async_trait]
impl Effects for SimulatedStore {
    async fn begin_effect(&self, fence: Fence) -> StoreResult<Option<Box<dyn Effect>>> {
        let number = self.call("begin", |state| {
            state.db.next.effect += 1;
            holds(state, fence).then_some(state.db.next.effect)
        });
        // Not made while the world is locked: dropping it locks the world.
        Ok(number.await?.map(|number| {
            Box::new(SimulatedEffect {
                store: self.clone(),
                fence,
                number,
                succeeds: false,
            }) as Box<dyn Effect>
        }))
    }
}

impl SimulatedEffect {
    async fn lock(&self, what: &'static str) -> StoreResult<bool> {
        let (id, number, fence) = (self.fence.id, self.number, self.fence);
        let locked = |state: &mut State| state.db.is_locked(state.now, id);
        self.store
            .call_unlocked(what, false, locked, |state| {
                let held = holds(state, fence);
                if let Some(row) = state.db.jobs.get_mut(&id).filter(|_| held) {
                    row.lock = Some((number, state.now));
                }
                held
            })
            .await
    }
}

#[async_trait]
impl Effect for SimulatedEffect {
    fn connection(&mut self) -> Connection<'_> {
        unreachable!("simulated handlers have no statements of their own")
    }

    fn error(&self, error: DatabaseError) -> StoreError {
        StoreError::Unavailable(error)
    }

    async fn succeed(&mut self, _: Option<&Value>, next: &[NewJob]) -> StoreResult<bool> {
        assert!(next.is_empty(), "simulated handlers start no jobs");
        self.succeeds = self.lock("succeed").await?;
        Ok(self.succeeds)
    }

    async fn hold(&mut self) -> StoreResult<bool> {
        self.lock("hold").await
    }

    async fn commit(self: Box<Self>) -> StoreResult<()> {
        let (id, number, succeeds) = (self.fence.id, self.number, self.succeeds);
        let committed = self.store.call("commit", |state| {
            let now = state.now;
            let Some(row) = state.db.jobs.get_mut(&id) else {
                return false;
            };
            // The database had ended an idle transaction, or failed over.
            if row.lock.take_if(|(holder, _)| *holder == number).is_none() {
                return false;
            }
            if succeeds {
                row.state = JobState::Succeeded;
                row.effects += 1;
                row.finished = Some(now);
                row.due = None;
            }
            true
        });
        match committed.await? {
            true => Ok(()),
            false => Err(unavailable()),
        }
    }

    async fn roll_back(self: Box<Self>) {}
}

/// The database sees the connection go.
impl Drop for SimulatedEffect {
    fn drop(&mut self) {
        self.store.port.world.lock().db.unlock(self.number);
    }
}
