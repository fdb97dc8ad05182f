//! Operations that the command line, the API and the dashboard share.

mod acceptance;
mod keys;
mod pulse;
mod submission;
mod view;
mod waiter;

pub use acceptance::Acceptance;
pub use keys::{KeyError, create_key, key_digest, revoke_key};
pub use pulse::Pulse;
pub use submission::{FieldError, Refusal, Submission};
pub use view::complete;
pub use waiter::Waiter;
