use crate::job::{Claimed, Publication, Transition};

/// What the metrics say became of a job.
pub(super) const fn outcome(transition: &Transition, kept: Option<bool>) -> &'static str {
    match (kept, transition) {
        (None, _) => "unrecorded",
        (Some(false), _) => "refused",
        (Some(true), Transition::HandBack) => "handed_back",
        (Some(true), Transition::Postpone { .. }) => "postponed",
        (Some(true), other) => other.target().as_str(),
    }
}

/// Logs how a run ended: a failure once, here.
pub(super) fn log(
    publication: &Publication,
    claimed: &Claimed,
    transition: &Transition,
    kept: Option<bool>,
) {
    let (id, kind) = (publication.id, &publication.kind);
    let attempt = claimed.failures + 1;
    let state = transition.target();
    match (kept, transition.error()) {
        (Some(true), Some(error)) if matches!(transition, Transition::Postpone { .. }) => {
            tracing::info!(
                job.id = %id, job.kind = %kind, job.state = %state,
                error.code = error.code, error.message = error.message, "job put off"
            );
        }
        (Some(true), Some(error)) => tracing::warn!(
            job.id = %id, job.kind = %kind, job.attempt = attempt, job.state = %state,
            error.code = error.code, error.message = error.message, "job failed"
        ),
        (Some(true), None) => tracing::info!(
            job.id = %id, job.kind = %kind, job.attempt = attempt, job.state = %state, "job ended"
        ),
        (Some(false), _) => tracing::warn!(
            job.id = %id, job.kind = %kind, job.epoch = claimed.epoch,
            "result refused: the claim was lost"
        ),
        (None, _) => tracing::warn!(
            job.id = %id, job.kind = %kind, "stopped before the end of the run was written"
        ),
    }
}
