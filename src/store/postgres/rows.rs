use crate::job::{ErrorClass, JobError, State};

use super::error::Fault;

/// The state of a stored number.
pub(super) fn state(code: i16) -> Result<State, Fault> {
    State::from_code(code).ok_or_else(|| Fault::corrupt(format!("state {code}")))
}

/// An error of its three columns, which are all set or none.
pub(super) fn error(
    code: Option<String>,
    message: Option<String>,
    class: Option<String>,
) -> Option<JobError> {
    Some(JobError {
        code: code?,
        message: message.unwrap_or_default(),
        class: ErrorClass::from_name(&class.unwrap_or_default()),
    })
}
