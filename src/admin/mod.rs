//! Operations that the command line, the API and the dashboard share.

mod acceptance;
mod batch;
mod depths;
mod explain;
mod fields;
mod keys;
mod pulse;
mod queues;
mod submission;
mod view;
mod waiter;
mod workers;

pub use acceptance::Acceptance;
pub use batch::{BatchForm, BatchItem, MAX_BATCH, MAX_KEY, is_key, key_rule, read_batch};
pub use depths::Depths;
pub use explain::explain;
pub use fields::{FieldError, Fields, Refusal, read};
pub use keys::{KeyError, create_key, key_digest, revoke_key};
pub use pulse::Pulse;
pub use queues::{ControlError, Lanes, QueueView, QueueWorker, Rates, pause, queues, resume};
pub use submission::{Submission, moment};
pub use view::complete;
pub use waiter::Waiter;
pub use workers::{WorkerView, workers};
