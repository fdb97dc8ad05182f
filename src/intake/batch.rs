use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use schemars::json_schema;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::call::Call;
use super::declaration::{Answer, Content, of};
use super::gate::Caller;
use super::submit::{accepted, traceparent};
use super::{Intake, Problem, body, problems};
use crate::admin::{BatchForm, BatchItem, FieldCode, FieldError, MAX_BATCH, complete, read_batch};
use crate::job::{JobId, JobView, NewJob, Scope};
use crate::store::{Inserted, JobFilter, Page, ReusedKeys};

/// Largest body, in bytes. All of it is in memory several times over, and travels in one
/// statement.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// How long a batch waits for its turn to be read.
const TURN: Duration = Duration::from_secs(5);
/// Newline-delimited JSON.
const LINES: &str = "application/x-ndjson";

pub(super) fn calls() -> Vec<Call<Intake>> {
    let array = |generator: &mut schemars::SchemaGenerator| {
        let item = of::<BatchItem>(generator);
        json_schema!({"type": "array", "items": item, "minItems": 1, "maxItems": MAX_BATCH})
    };
    let lines = |_: &mut _| {
        json_schema!({
            "type": "string",
            "description": "One job a line, each as an item of the array.",
        })
    };
    vec![
        Call::post("submit_batch", "/v1/jobs/batch")
            .scope(Scope::Submit)
            .summary("Submit up to 1,000 jobs, all or none")
            .description(
                "In one transaction: either every job is accepted, or none is and `errors` names \
                 every field that is wrong by its JSON pointer, which begins with the job's \
                 position, from 0 (in NDJSON too). The body may be 8 MiB long. Each job may have \
                 an `idempotency_key` of its own; the header does not belong here. The same key \
                 and body twice in one batch is one job.",
            )
            .body(Content::of("application/json", array))
            .body(Content::of(LINES, lines))
            .answers(Answer::json::<BatchAnswer>(
                StatusCode::ACCEPTED,
                "Every job is committed and will run; they are in the order of the request.",
            ))
            .problems(&[
                problems::INVALID_JOB,
                problems::INVALID_IDEMPOTENCY_KEY,
                problems::IDEMPOTENCY_KEY_REUSED,
                problems::UNSTORABLE,
                problems::OVERLOADED,
            ])
            .handler(submit),
    ]
}

/// What became of a batch's jobs.
#[derive(Debug, Serialize, JsonSchema)]
struct BatchAnswer {
    items: Vec<Accepted>,
}

/// What became of one job of a batch.
#[derive(Debug, Serialize, JsonSchema)]
struct Accepted {
    /// The job.
    id: JobId,
    /// True if its idempotency key was sent before: this is the job that it made then.
    replayed: bool,
    /// The job, without its attempts; null only where the job of a replay has been removed
    /// since.
    job: Option<JobView>,
}

async fn submit(
    State(intake): State<Intake>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<BatchAnswer>), Problem> {
    let form = form(&headers)?;
    if headers.contains_key("idempotency-key") {
        let detail =
            "a batch takes no header `Idempotency-Key`; give each job an `idempotency_key`";
        return Err(Problem::new(problems::INVALID_IDEMPOTENCY_KEY, detail));
    }
    let body = body::read(body, MAX_BODY).await?;
    let mut jobs = read(&intake, body, form, caller.owner).await?;
    let trace = traceparent(&headers);
    for job in &mut jobs {
        job.traceparent.clone_from(&trace);
    }
    let inserted = intake.acceptance.accept_all(&jobs).await?;
    let inserted = inserted.map_err(|reused| keys_reused(&reused))?;
    let items = show(&intake, &jobs, &inserted).await?;
    Ok((StatusCode::ACCEPTED, Json(BatchAnswer { items })))
}

/// Bounds how many batches are read at the same time. Reading computes: with more of them than
/// this machine has cores, each would only be slower, and everything else too. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self(Arc::new(Semaphore::new(cores)))
    }
}

impl Readers {
    /// A turn to read.
    async fn take(&self) -> Result<OwnedSemaphorePermit, Problem> {
        match tokio::time::timeout(TURN, self.0.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Problem::overloaded()),
        }
    }
}

/// A thousand checks, of which some fill in templates, take a while: on a thread of their own they
/// hold up no other call, and no heartbeat.
async fn read(
    intake: &Intake,
    body: Vec<u8>,
    form: BatchForm,
    owner: String,
) -> Result<Vec<NewJob>, Problem> {
    let (registry, queues) = (intake.registry.clone(), intake.queues.clone());
    let place = intake.readers.take().await?;
    let reading = move || {
        // Kept while the thread reads, also for a caller who has left.
        let _place = place;
        read_batch(&body, form, &owner, &registry, &queues)
    };
    match tokio::task::spawn_blocking(reading).await {
        Ok(jobs) => Ok(jobs?),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a batch was not read"
            );
            Err(Problem::new(
                problems::INTERNAL,
                "the batch could not be read",
            ))
        }
    }
}

fn form(headers: &HeaderMap) -> Result<BatchForm, Problem> {
    if body::is_json(headers) {
        return Ok(BatchForm::Array);
    }
    match body::media_type(headers).as_str() {
        LINES | "application/ndjson" | "application/jsonl" => Ok(BatchForm::Lines),
        _ => {
            let detail = "send the header `Content-Type: application/json` with an array of jobs, \
                          or `application/x-ndjson` with a job a line";
            Err(Problem::new(problems::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

/// New jobs as they were committed; those of replays as they are now.
async fn show(
    intake: &Intake,
    jobs: &[NewJob],
    inserted: &[Inserted],
) -> Result<Vec<Accepted>, Problem> {
    let mut items = Vec::with_capacity(jobs.len());
    for (job, answer) in jobs.iter().zip(inserted) {
        let view = match answer {
            Inserted::Accepted { created_at, state } => {
                Some(shown(accepted(job, *created_at, *state)?, intake))
            }
            _ => None,
        };
        let earlier = replayed(answer);
        items.push(Accepted {
            id: earlier.unwrap_or(job.id),
            replayed: earlier.is_some(),
            job: view,
        });
    }
    if items.iter().any(|item| item.job.is_none()) {
        fill_in(intake, &mut items).await?;
    }
    Ok(items)
}

fn shown(mut job: JobView, intake: &Intake) -> JobView {
    complete(&mut job, &intake.queues);
    job.attempts = None;
    job
}

/// The jobs of replays: some were made before, some by this very batch.
async fn fill_in(intake: &Intake, items: &mut [Accepted]) -> Result<(), Problem> {
    let made = items.iter().filter_map(|item| item.job.clone());
    let mut known: HashMap<JobId, JobView> = made.map(|job| (job.id, job)).collect();
    let replays = items.iter().filter(|item| item.job.is_none());
    let ids = replays.map(|item| item.id);
    let earlier: Vec<JobId> = ids.filter(|id| !known.contains_key(id)).collect();
    if !earlier.is_empty() {
        let filter = JobFilter {
            ids: earlier,
            ..JobFilter::default()
        };
        let page = Page {
            limit: u32::try_from(MAX_BATCH).unwrap_or(u32::MAX),
            before: None,
        };
        let found = intake.store.list(&filter, page).await?;
        known.extend(found.into_iter().map(|job| (job.id, shown(job, intake))));
    }
    for item in items.iter_mut().filter(|item| item.job.is_none()) {
        item.job = known.get(&item.id).cloned();
    }
    Ok(())
}

fn replayed(inserted: &Inserted) -> Option<JobId> {
    match inserted {
        Inserted::Replayed { id } => Some(*id),
        _ => None,
    }
}

fn keys_reused(reused: &ReusedKeys) -> Problem {
    let errors: Vec<FieldError> = reused
        .iter()
        .map(|(at, _)| {
            let message = "was sent before with another body; a new job needs a new key";
            FieldError::new(format!("/{at}/idempotency_key"), message)
                .coded(FieldCode::IdempotencyKeyReused)
        })
        .collect();
    let detail = format!("{} keys were used for something else", errors.len());
    Problem::new(problems::IDEMPOTENCY_KEY_REUSED, detail).with("errors", json!(errors))
}
