use std::str::FromStr;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use schemars::json_schema;

use super::call::Call;
use super::declaration::{Answer, Parameter, of};
use super::query::Query;
use super::selection::{JobPage, filter, filtered, jobs, page, paged};
use super::{Intake, Problem, problems};
use crate::admin::{complete, explain};
use crate::job::{JobId, JobView, Scope, State as JobState};

/// Longest `?wait=`.
const MAX_WAIT: Duration = Duration::from_secs(60);
const LIST: &str = "jobs";

pub(super) fn calls() -> Vec<Call<Intake>> {
    let wait = |_: &mut _| {
        let pattern = "^(([0-9]{1,4}|[1-5][0-9]{4}|60000)ms|[1-5]?[0-9]s|60s|1m)$";
        json_schema!({"type": "string", "pattern": pattern, "examples": ["30s"]})
    };
    let query = Parameter::query;
    let list_jobs = Call::get("list_jobs", "/v1/jobs")
        .scope(Scope::Read)
        .summary("List jobs, newest first")
        .parameter(query("state", of::<JobState>, "In one of these states.").many());
    vec![
        paged(filtered(list_jobs))
            .answers(Answer::json::<JobPage>(StatusCode::OK, "A page."))
            .handler(list),
        Call::get("show_job", "/v1/jobs/{id}")
            .scope(Scope::Read)
            .summary("A job with its attempts")
            .parameter(Parameter::path("id", of::<JobId>, "The job."))
            .parameter(query(
                "wait",
                wait,
                "Answer when the job has come to its end, or after this long, at most 60s.",
            ))
            .answers(Answer::json::<JobView>(StatusCode::OK, "The job."))
            .problems(&[problems::NO_SUCH_JOB])
            .handler(show),
    ]
}

/// The `{id}` of a path: an extractor.
#[derive(Debug)]
pub(super) struct JobPath(pub(super) JobId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text: Result<Path<String>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        let Ok(Path(text)) = text else {
            return Err(no_such_job("…"));
        };
        text.parse().map(Self).map_err(|_| no_such_job(&text))
    }
}

async fn show(
    State(intake): State<Intake>,
    JobPath(id): JobPath,
    mut query: Query,
) -> Result<Json<JobView>, Problem> {
    let wait: Option<Wait> = query.one("wait");
    query.finish()?;
    if let Some(Wait(limit)) = wait {
        let job = find(&intake, id).await?;
        if job.state.is_final() {
            return Ok(Json(job));
        }
        intake.waiter.wait(id, limit).await;
    }
    let mut job = find(&intake, id).await?;
    // What the row says is worth more than no answer.
    if let Err(error) = explain(&*intake.store, &mut job).await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "cannot tell why job {id} waits"
        );
    }
    Ok(Json(job))
}

async fn list(State(intake): State<Intake>, mut query: Query) -> Result<Json<JobPage>, Problem> {
    let mut filter = filter(&mut query);
    filter.states = query.all("state");
    let asked = page(&mut query, LIST, &filter);
    query.finish()?;
    jobs(&intake, LIST, &filter, asked).await.map(Json)
}

/// The value of `?wait=`.
#[derive(Debug)]
struct Wait(Duration);

impl FromStr for Wait {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match humantime::parse_duration(text) {
            Ok(limit) if limit <= MAX_WAIT => Ok(Self(limit)),
            Ok(_) => Err("must be at most 60s".to_owned()),
            Err(error) => Err(format!("must be a duration like `30s`: {error}")),
        }
    }
}

pub(super) async fn find(intake: &Intake, id: JobId) -> Result<JobView, Problem> {
    let mut job = intake
        .store
        .job(id)
        .await?
        .ok_or_else(|| no_such_job(&id.to_string()))?;
    complete(&mut job, &intake.queues);
    Ok(job)
}

pub(super) fn no_such_job(id: &str) -> Problem {
    let detail = format!("no job `{id}`: never accepted here, or removed after its retention");
    Problem::new(problems::NO_SUCH_JOB, detail)
}
