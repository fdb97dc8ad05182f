use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use serde::Serialize;

use super::{Intake, MAX_BODY, MAX_WAIT, Problem};
use crate::admin::{Submission, complete};
use crate::job::{JobId, JobView, NewJob, State as JobState, UniqueKey};
use crate::store::{Inserted, JobFilter, Page};

/// Longest `Idempotency-Key`, in bytes.
const MAX_KEY: usize = 255;
/// How much of a body that is too large is read before it is refused, in bytes: a client that
/// is still sending would see the connection break instead of the answer.
const MAX_DISCARDED: usize = 16 * 1024 * 1024;
/// Jobs on a page when none is asked for, and at most.
const PAGE: (u32, u32) = (50, 500);

/// `POST /v1/jobs`: 202 once the job is committed.
pub(super) async fn submit(
    State(intake): State<Intake>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    json_content(&headers)?;
    let body = read_body(body).await?;
    let submission = Submission::parse(&body)?;
    let key = idempotency_key(&headers, &body)?;
    let mut job = submission.into_job(&intake.registry, &intake.queues)?;
    job.unique = key;
    job.traceparent = traceparent(&headers);
    // From the commit on nothing may fail: the view is made of what was committed, not read.
    let (mut view, replayed) = match intake.acceptance.accept(job.clone()).await? {
        Inserted::Accepted { created_at, state } => (accepted(&job, created_at, state)?, false),
        Inserted::Replayed { id } => (find(&intake, id).await?, true),
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

/// `GET /v1/jobs/{id}?wait=30s`: the job with its attempts.
pub(super) async fn show(
    State(intake): State<Intake>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<JobView>, Problem> {
    let id: JobId = id.parse().map_err(|_| no_such_job(&id))?;
    let query = parameters(query.as_deref(), &["wait"])?;
    if let Some(wait) = value(&query, "wait") {
        let limit = wait_limit(wait)?;
        let job = find(&intake, id).await?;
        if job.state.is_final() {
            return Ok(Json(job));
        }
        intake.waiter.wait(id, limit).await;
    }
    find(&intake, id).await.map(Json)
}

/// Jobs, newest first, and where the next page begins. Typed, because payloads are kept as they
/// were sent: what `serde_json::Value` cannot hold (`1e999`) must still be shown.
#[derive(Debug, Serialize)]
pub(super) struct JobPage {
    items: Vec<JobView>,
    next_cursor: Option<String>,
}

/// `GET /v1/jobs`: newest first.
pub(super) async fn list(
    State(intake): State<Intake>,
    RawQuery(query): RawQuery,
) -> Result<Json<JobPage>, Problem> {
    let known = ["state", "kind", "queue", "code", "limit", "cursor"];
    let query = parameters(query.as_deref(), &known)?;
    let (filter, page) = selection(&query)?;
    // One more than asked for tells whether there is a next page.
    let more = Page {
        limit: page.limit + 1,
        ..page
    };
    let mut items = intake.store.list(&filter, more).await?;
    let full = items.len() > page.limit as usize;
    items.truncate(page.limit as usize);
    let next = items.last().filter(|_| full).map(|job| job.id.to_string());
    for job in &mut items {
        complete(job, &intake.queues);
    }
    Ok(Json(JobPage {
        items,
        next_cursor: next,
    }))
}

type Parameters = Vec<(String, String)>;

fn value<'a>(query: &'a Parameters, name: &str) -> Option<&'a str> {
    query
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

fn parameters(query: Option<&str>, known: &[&str]) -> Result<Parameters, Problem> {
    let pairs: Parameters = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .into_owned()
        .collect();
    match pairs.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        None => Ok(pairs),
        Some((key, _)) => Err(parameter(
            key,
            &format!("no such parameter; this call takes {}", known.join(", ")),
        )),
    }
}

fn selection(query: &Parameters) -> Result<(JobFilter, Page), Problem> {
    let mut filter = JobFilter::default();
    let mut page = Page {
        limit: PAGE.0,
        before: None,
    };
    for (key, value) in query {
        match key.as_str() {
            "state" => filter.states.push(read(key, value)?),
            "kind" => filter.kind = Some(read(key, value)?),
            "queue" => filter.queues.push(read(key, value)?),
            "code" => filter.code = Some(value.clone()),
            "cursor" => page.before = Some(read(key, value)?),
            _ => page.limit = read(key, value)?,
        }
    }
    if page.limit == 0 || page.limit > PAGE.1 {
        return Err(parameter("limit", &format!("must be from 1 to {}", PAGE.1)));
    }
    Ok((filter, page))
}

fn read<T>(key: &str, value: &str) -> Result<T, Problem>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    value
        .parse()
        .map_err(|error| parameter(key, &format!("{error}")))
}

fn parameter(name: &str, message: &str) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid_parameter",
        format!("parameter `{name}`: {message}"),
    )
    .with("parameter", name.into())
}

fn wait_limit(text: &str) -> Result<Duration, Problem> {
    match humantime::parse_duration(text) {
        Ok(limit) if limit <= MAX_WAIT => Ok(limit),
        Ok(_) => Err(parameter("wait", "must be at most 60s")),
        Err(error) => Err(parameter(
            "wait",
            &format!("must be a duration like `30s`: {error}"),
        )),
    }
}

fn accepted(job: &NewJob, created_at: DateTime<Utc>, state: JobState) -> Result<JobView, Problem> {
    JobView::accepted(job, created_at, state).map_err(|error| {
        let detail = format!(
            "accepted as job {}, but it cannot be shown: {error}",
            job.id
        );
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    })
}

async fn find(intake: &Intake, id: JobId) -> Result<JobView, Problem> {
    let mut job = intake
        .store
        .job(id)
        .await?
        .ok_or_else(|| no_such_job(&id.to_string()))?;
    complete(&mut job, &intake.queues);
    Ok(job)
}

fn no_such_job(id: &str) -> Problem {
    let detail = format!("no job `{id}`: never accepted here, or removed after its retention");
    Problem::new(StatusCode::NOT_FOUND, "no_such_job", detail)
}

fn json_content(headers: &HeaderMap) -> Result<(), Problem> {
    let content = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = "send the header `Content-Type: application/json`";
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        detail,
    ))
}

async fn read_body(body: Body) -> Result<Vec<u8>, Problem> {
    let mut chunks = body.into_data_stream();
    let (mut kept, mut length) = (Vec::new(), 0_usize);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            let detail = "the body broke off";
            Problem::new(StatusCode::BAD_REQUEST, "unreadable_body", detail)
        })?;
        length = length.saturating_add(chunk.len());
        if length > MAX_DISCARDED {
            break;
        }
        if length <= MAX_BODY {
            kept.extend_from_slice(&chunk);
        }
    }
    if length > MAX_BODY {
        let detail = format!("the body may be at most {MAX_BODY} bytes");
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            detail,
        ));
    }
    Ok(kept)
}

fn idempotency_key(headers: &HeaderMap, body: &[u8]) -> Result<Option<UniqueKey>, Problem> {
    let Some(header) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = header.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > MAX_KEY {
        let detail = format!(
            "the header `Idempotency-Key` must be 1 to {MAX_KEY} printable ASCII characters"
        );
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_idempotency_key",
            detail,
        ));
    }
    Ok(Some(UniqueKey {
        scope: "anonymous".to_owned(),
        key: key.to_owned(),
        fingerprint: Submission::fingerprint(body),
    }))
}

fn key_reused() -> Problem {
    let detail = "this Idempotency-Key was sent before with another body; use a new key";
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency_key_reused",
        detail,
    )
}

/// The caller's trace, if it is one (W3C Trace Context, `traceparent`); else none.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let well_formed = text.len() == 55
        && text
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    well_formed.then(|| text.to_owned())
}
