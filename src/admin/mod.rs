//! Operations that the command line, the API and the dashboard share.

mod acceptance;
mod batch;
mod bulk;
mod cursor;
mod depths;
mod edit;
mod explain;
mod fields;
mod keys;
mod letters;
mod pulse;
mod queues;
mod selection;
mod submission;
mod verify;
mod view;
mod waiter;
mod workers;

pub use acceptance::Acceptance;
pub use batch::{BatchForm, BatchItem, MAX_BATCH, MAX_KEY, is_key, key_rule, read_batch};
pub use bulk::{BulkRequest, MAX_LIMIT};
pub use cursor::{cursor, place};
pub use depths::Depths;
pub use edit::edit;
pub use explain::explain;
pub use fields::{FieldCode, FieldError, Fields, Refusal, read};
pub use keys::{KeyError, create_key, key_digest, revoke_key};
pub use letters::{Letter, next_line};
pub use pulse::Pulse;
pub use queues::{ControlError, Lanes, QueueView, QueueWorker, Rates, pause, queues, resume};
pub use selection::{
    MOMENT, filter_errors, filter_errors_within, moment, rate, rate_in_range, unknown_queue,
};
pub use submission::Submission;
pub use verify::{BrokerSide, QueueSide, Verification, verify};
pub use view::complete;
pub use waiter::Waiter;
pub use workers::{WorkerView, workers};
