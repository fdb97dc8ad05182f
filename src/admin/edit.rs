use super::Refusal;
use super::submission::{json_errors, payload_errors};
use crate::job::Kind;
use crate::store::Edit;
use crate::worker::Registry;

/// Another payload for a job of this kind, checked as a submitted one is.
///
/// # Errors
/// `UnknownKind` where this program does not know the kind; `Invalid` with every wrong field,
/// its pointer beginning with `/payload`.
pub fn edit(kind: &Kind, payload: &str, registry: &Registry) -> Result<Edit, Refusal> {
    let entry = registry.get(kind.as_str()).ok_or_else(|| {
        let reason = format!("the kind `{kind}` is not known here: its payload cannot be checked");
        Refusal::UnknownKind(reason)
    })?;
    let mut errors = json_errors(payload);
    if errors.is_empty() {
        errors = payload_errors(entry, payload);
    }
    match errors {
        errors if errors.is_empty() => Ok(Edit {
            payload: payload.as_bytes().to_vec(),
        }),
        errors => Err(Refusal::Invalid(errors)),
    }
}
