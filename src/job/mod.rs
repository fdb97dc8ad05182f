//! What a job is and how it lives: pure values and pure decisions.
//!
//! **Invariant:** nothing here waits, connects or reads a clock. Time, randomness and the
//! world's answers come in as arguments, so that every rule can be tested as a table.

mod claim;
mod decide;
mod error;
mod fingerprint;
mod id;
pub mod json;
mod message;
mod name;
mod new_job;
mod outcome;
mod progress;
mod retry;
mod scope;
mod state;
mod view;
mod waiting;

pub use claim::{Claimed, Disposition, Standing, dispose};
pub use decide::{Run, Transition, decide};
pub use error::{ErrorClass, JobError};
pub use fingerprint::{fingerprint, shape};
pub use id::{JobId, ProcessId};
pub use message::{
    APP_ID, Decoded, DispatchHeader, Foreign, Junk, MAX_PAYLOAD, Message, Publication, decode,
    storable_body,
};
pub use name::{Kind, NameError, QueueName};
pub use new_job::{NewJob, Priority, Start, UniqueKey};
pub use outcome::{Done, Failure, JobResult, Outcome};
pub use progress::{ProgressView, RunProgress};
pub use retry::RetryPolicy;
pub use scope::Scope;
pub use state::{Cancelling, State};
pub use view::{AttemptView, JobView};
pub use waiting::{WaitReason, WaitingFor, waiting_for};
