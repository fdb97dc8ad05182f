use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::json;

use super::call::Call;
use super::declaration::{Answer, Content, Parameter, of};
use super::gate::Caller;
use super::{Intake, Problem, body, problems};
use crate::admin::{FieldCode, FieldError, MAX_KEY, Submission, complete, is_key, key_rule};
use crate::job::{JobId, JobView, MAX_PAYLOAD, NewJob, Scope, State as JobState, UniqueKey};
use crate::store::Inserted;

/// Largest body that is read, in bytes: a payload of 1 MiB and what is around it.
const MAX_BODY: usize = 1024 * 1024 + 64 * 1024;

pub(super) fn calls() -> Vec<Call<Intake>> {
    let accepted =
        Answer::json::<JobView>(StatusCode::ACCEPTED, "The job is committed and will run.")
            .header("Location", of::<String>, "The job's path.")
            .header(
                "Idempotent-Replayed",
                |_| json_schema!({"const": "true"}),
                "There if the key was sent before: this is the job that it made then.",
            );
    vec![
        Call::post("submit_job", "/v1/jobs")
            .scope(Scope::Submit)
            .summary("Submit a job")
            .description(
                "The answer comes once the job is committed: it will run, whatever dies next.",
            )
            .parameter(Parameter::header(
                "Idempotency-Key",
                key_schema,
                "Makes it safe to send the same request again: the same key and body are the \
                 same job. Keys belong to the API key that sent them, and live for 24 hours or \
                 as long as their job, whichever is longer.",
            ))
            .parameter(Parameter::header(
                "traceparent",
                of::<String>,
                "The caller's trace (W3C Trace Context); the job's run continues it.",
            ))
            .body(Content::json::<Submission>())
            .answers(accepted)
            .problems(&[
                problems::INVALID_JOB,
                problems::UNKNOWN_KIND,
                problems::INVALID_IDEMPOTENCY_KEY,
                problems::IDEMPOTENCY_KEY_REUSED,
                problems::JOB_REMOVED,
                problems::UNSTORABLE,
                problems::OVERLOADED,
            ])
            .handler(submit),
    ]
}

async fn submit(
    State(intake): State<Intake>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    body::require_json(&headers)?;
    let body = body::read(body, MAX_BODY).await.map_err(of_payload)?;
    let mut job = Submission::read(&body, &intake.registry, &intake.queues)?;
    let key = idempotency_key(&headers, &body, &caller)?;
    job.unique = key;
    job.traceparent = traceparent(&headers);
    // From the commit on nothing may fail: the view is made of what was committed, not read.
    let (mut view, replayed) = match intake.acceptance.accept(job.clone()).await? {
        Inserted::Accepted { created_at, state } => (accepted(&job, created_at, state)?, false),
        Inserted::Replayed { id } => (earlier(&intake, id).await?, true),
        Inserted::KeyReused { .. } => return Err(key_reused()),
    };
    complete(&mut view, &intake.queues);
    let id = view.id;
    let mut response = (StatusCode::ACCEPTED, Json(view)).into_response();
    let location = HeaderValue::from_str(&format!("/v1/jobs/{id}"));
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if replayed {
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert("idempotent-replayed", yes);
    }
    Ok(response)
}

/// What is around a payload is small: a body that is too large has one that is.
fn of_payload(problem: Problem) -> Problem {
    if !problem.is(problems::BODY_TOO_LARGE) {
        return problem;
    }
    let message = format!("at most {MAX_PAYLOAD} bytes; keep large content elsewhere and name it");
    let error = FieldError::new("/payload", message).coded(FieldCode::TooLarge);
    problem.with("errors", json!([error]))
}

/// The job of a replay. A key may outlive its job: by 24 hours at most, if the job was removed
/// early.
async fn earlier(intake: &Intake, id: JobId) -> Result<JobView, Problem> {
    intake.store.job(id).await?.ok_or_else(|| {
        let detail = format!(
            "this Idempotency-Key made job {id}, which was accepted and has been removed since; \
             nothing was accepted now"
        );
        Problem::new(problems::JOB_REMOVED, detail).with("id", id.to_string().into())
    })
}

pub(super) fn accepted(
    job: &NewJob,
    created_at: DateTime<Utc>,
    state: JobState,
) -> Result<JobView, Problem> {
    JobView::accepted(job, created_at, state).map_err(|error| {
        let detail = format!(
            "accepted as job {}, but it cannot be shown: {error}",
            job.id
        );
        Problem::new(problems::INTERNAL, detail)
    })
}

/// What [`idempotency_key`] reads.
pub(super) fn key_schema(_: &mut SchemaGenerator) -> Schema {
    let pattern = format!("^[!-~]([ -~]{{0,{}}}[!-~])?$", MAX_KEY - 2);
    json_schema!({"type": "string", "pattern": pattern})
}

pub(super) fn idempotency_key(
    headers: &HeaderMap,
    body: &[u8],
    caller: &Caller,
) -> Result<Option<UniqueKey>, Problem> {
    let Some(header) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = header.to_str().unwrap_or_default();
    let once = headers.get_all("idempotency-key").iter().count() == 1;
    if !once || !is_key(key) {
        let detail = format!("the header `Idempotency-Key` {}, given once", key_rule());
        return Err(Problem::new(problems::INVALID_IDEMPOTENCY_KEY, detail));
    }
    Ok(Some(UniqueKey {
        scope: caller.owner.clone(),
        key: key.to_owned(),
        fingerprint: Submission::fingerprint(body),
    }))
}

pub(super) fn key_reused() -> Problem {
    let detail = "this Idempotency-Key was sent before with another body; use a new key";
    Problem::new(problems::IDEMPOTENCY_KEY_REUSED, detail)
}

/// The caller's trace, if it is one (W3C Trace Context, `traceparent`); else none.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let well_formed = text.len() == 55
        && text
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    well_formed.then(|| text.to_owned())
}
