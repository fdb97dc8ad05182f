use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operation::{Advance, NewOperation, Operation, OperationCommand, OperationId, StepBy};
use super::{JobFilter, StoreResult};
use crate::job::{JobId, ProcessId, State, UniqueKey};

/// Another payload for a job that is sent back.
#[derive(Debug, Clone)]
pub struct Edit {
    /// JSON text.
    pub payload: Vec<u8>,
}

/// The answer to a request to cancel or requeue one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operated {
    /// It was done.
    Done,
    /// It runs; its worker is asked to stop it.
    Requested,
    /// It was so before.
    Already,
    /// Not in this state.
    Refused(State),
    /// No such job.
    Unknown,
}

/// The answer to a request that carries a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// A new operation.
    Now(Operation),
    /// The one that the key began before.
    Before(Operation),
    /// The key was used for another request; nothing was begun.
    KeyReused,
}

/// Dead jobs of one fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadGroup {
    /// Equal for jobs of the same kind, with the same code and shape of message.
    pub fingerprint: String,
    /// Their kind.
    pub kind: String,
    /// Their error's code.
    pub code: String,
    /// How many there are.
    pub count: u64,
    /// When the first of them died.
    pub first_at: DateTime<Utc>,
    /// When the last of them died.
    pub last_at: DateTime<Utc>,
    /// The newest of them.
    pub sample: JobId,
    /// Its error's message.
    pub message: String,
}

/// What operators do to jobs. All of it on record as an [`Operation`].
///
/// # Errors
/// As those of [`Store`](super::Store).
#[async_trait]
pub trait Operations {
    /// Cancels a job: at once if it waits, which makes its message stale; by asking its worker
    /// if it runs. Repeating it changes nothing.
    async fn cancel(&self, id: JobId, by: &str) -> StoreResult<Operated>;

    /// The runs of this process whose cancellation is requested, by job and epoch.
    async fn cancel_requests(&self, process: ProcessId) -> StoreResult<Vec<(JobId, i32)>>;

    /// Sends a dead or cancelled job back to its queue as a new dispatch, failures and crashes
    /// back to 0, with another payload if one is given; enters it in the outbox, due at once.
    async fn requeue(&self, id: JobId, edit: Option<&Edit>, by: &str) -> StoreResult<Operated>;

    /// How many dead jobs match.
    async fn count_dead(&self, filter: &JobFilter) -> StoreResult<u64>;

    /// Dead jobs that match, by fingerprint, the largest groups first, without the first `skip`.
    async fn dead_groups(
        &self,
        filter: &JobFilter,
        limit: u32,
        skip: u32,
    ) -> StoreResult<Vec<DeadGroup>>;

    /// Begins an operation on the dead jobs that match now. A repetition with the same id
    /// returns the operation as it stands.
    async fn begin(&self, operation: &NewOperation) -> StoreResult<Operation>;

    /// As [`Operations::begin`], once for a key: another request with the same fingerprint is the
    /// operation that the first one began. The key lives for a day.
    async fn begin_once(&self, operation: &NewOperation, key: &UniqueKey) -> StoreResult<Begun>;

    /// An operation.
    async fn operation(&self, id: OperationId) -> StoreResult<Option<Operation>>;

    /// Operations, newest first, older than `before`.
    async fn operations(
        &self,
        limit: u32,
        before: Option<OperationId>,
    ) -> StoreResult<Vec<Operation>>;

    /// Pauses, resumes or cancels an operation, and returns it: unchanged where
    /// [`OperationState::after`](super::OperationState::after) says that it cannot be. `None` if there is none.
    async fn command(
        &self,
        id: OperationId,
        command: OperationCommand,
        by: &str,
    ) -> StoreResult<Option<Operation>>;

    /// Takes the next step of a running operation (of `only`, if given): deals with the next of
    /// its jobs, oldest first, and moves its place and counts, in one transaction. `None` if
    /// there is none that may be advanced now: one is held by who stepped last, and waits
    /// between steps as its rate asks.
    ///
    /// Who takes over an operation whose last batch is not known to be published gets that
    /// batch again, before anything new, so that the order holds over a crash.
    ///
    /// An operation whose step fails is put off for a while, so that the others get their turn.
    async fn advance(&self, by: &StepBy, only: Option<OperationId>)
    -> StoreResult<Option<Advance>>;
}
