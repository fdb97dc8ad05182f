//! What operators do to one job.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use schemars::json_schema;
use serde_json::value::RawValue;

use super::call::Call;
use super::declaration::{Answer, Content, Parameter, of};
use super::gate::Caller;
use super::jobs::{JobPath, find, no_such_job};
use super::{Intake, Problem, body, problems};
use crate::admin::{Fields, Refusal, edit};
use crate::job::{JobId, JobView, Scope, json};
use crate::store::{Edit, Operated};

/// Largest body, in bytes: a payload of 1 MiB and what is around it.
const MAX_BODY: usize = 1024 * 1024 + 64 * 1024;

pub(super) fn calls() -> Vec<Call<Intake>> {
    let id = || Parameter::path("id", of::<JobId>, "The job.");
    vec![
        Call::post("cancel_job", "/v1/jobs/{id}/cancel")
            .scope(Scope::Operate)
            .summary("Cancel a job")
            .description(
                "A job that waits is cancelled at once. One that runs is stopped by its worker: \
                 the handler has 5 seconds to come to an end, which counts if it is a success or \
                 a death. Asking again changes nothing.",
            )
            .parameter(id())
            .answers(Answer::json::<JobView>(
                StatusCode::OK,
                "The job is cancelled.",
            ))
            .answers(Answer::json::<JobView>(
                StatusCode::ACCEPTED,
                "The job runs; its worker is asked to stop it (`cancel_requested`).",
            ))
            .problems(&[problems::NO_SUCH_JOB, problems::NOT_CANCELLABLE])
            .handler(cancel),
        Call::post("requeue_job", "/v1/jobs/{id}/requeue")
            .scope(Scope::Operate)
            .summary("Send a dead or cancelled job back to its queue")
            .description(
                "As a new dispatch with a fresh budget of attempts; those it had stay on record. \
                 With a `payload`, it runs with that one, which must fit its kind; the first one \
                 is kept as `original_payload`.",
            )
            .parameter(id())
            .optional_body(Content::of("application/json", |_| {
                json_schema!({
                    "type": "object",
                    "properties": {"payload": {"description": "What the kind needs."}},
                    "additionalProperties": false,
                })
            }))
            .answers(Answer::json::<JobView>(
                StatusCode::ACCEPTED,
                "The job is queued and will run.",
            ))
            .problems(&[
                problems::NO_SUCH_JOB,
                problems::NOT_REQUEUEABLE,
                problems::UNKNOWN_KIND,
                problems::INVALID_JOB,
            ])
            .handler(requeue),
    ]
}

async fn cancel(
    State(intake): State<Intake>,
    JobPath(id): JobPath,
    caller: Caller,
) -> Result<(StatusCode, Json<JobView>), Problem> {
    let status = match intake.store.cancel(id, &caller.name).await? {
        Operated::Done | Operated::Already => StatusCode::OK,
        Operated::Requested => StatusCode::ACCEPTED,
        Operated::Refused(state) => {
            let detail = format!("job {id} is {state}: it has come to its end");
            let refused = Problem::new(problems::NOT_CANCELLABLE, detail);
            return Err(refused.with("state", state.as_str().into()));
        }
        Operated::Unknown => return Err(no_such_job(&id.to_string())),
    };
    Ok((status, Json(find(&intake, id).await?)))
}

async fn requeue(
    State(intake): State<Intake>,
    JobPath(id): JobPath,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<JobView>), Problem> {
    let body = body::read(body, MAX_BODY).await?;
    let edit = if body.is_empty() {
        None
    } else {
        body::require_json(&headers)?;
        edited(&intake, id, &body).await?
    };
    let answer = intake.store.requeue(id, edit.as_ref(), &caller.name);
    match answer.await? {
        Operated::Done | Operated::Already | Operated::Requested => {}
        Operated::Refused(state) => {
            let detail = format!("job {id} is {state}: only dead and cancelled ones are sent back");
            let refused = Problem::new(problems::NOT_REQUEUEABLE, detail);
            return Err(refused.with("state", state.as_str().into()));
        }
        Operated::Unknown => return Err(no_such_job(&id.to_string())),
    }
    Ok((StatusCode::ACCEPTED, Json(find(&intake, id).await?)))
}

async fn edited(intake: &Intake, id: JobId, body: &[u8]) -> Result<Option<Edit>, Problem> {
    json::canonical(body).map_err(Refusal::from)?;
    let invalid = |error| Refusal::Invalid(vec![error]);
    let mut fields = Fields::split(body, "a requeue", &["payload"]).map_err(invalid)?;
    // Not `optional`, for which `null` is nothing: a payload may be null.
    let payload = fields
        .has("payload")
        .then(|| fields.required::<Box<RawValue>>("payload", "what the kind needs"))
        .flatten();
    let errors = fields.errors();
    if !errors.is_empty() {
        return Err(Refusal::Invalid(errors).into());
    }
    match payload {
        None => Ok(None),
        Some(payload) => {
            let job = find(intake, id).await?;
            Ok(Some(edit(&job.kind, payload.get(), &intake.registry)?))
        }
    }
}
