use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::call::Call;
use super::declaration::{Answer, Parameter, of};
use super::gate::Caller;
use super::{Intake, Problem, problems};
use crate::admin::{self, ControlError, QueueView, WorkerView};
use crate::job::{QueueName, Scope};
use crate::store::StoreResult;

type Name = Result<Path<String>, PathRejection>;

pub(super) fn calls() -> Vec<Call<Intake>> {
    let name = || Parameter::path("queue", of::<QueueName>, "The queue's name.");
    vec![
        Call::get("list_queues", "/v1/queues")
            .scope(Scope::Read)
            .summary("List queues: what they hold, how fast they move, who works them")
            .answers(Answer::json::<QueueList>(StatusCode::OK, "Every queue."))
            .handler(list),
        Call::post("pause_queue", "/v1/queues/{queue}/pause")
            .scope(Scope::Operate)
            .summary("Start no more jobs of a queue")
            .description(
                "Within about two seconds no process starts its jobs any more, until it is \
                 resumed, whatever restarts. What runs is finished; what waits is kept, and \
                 nothing is counted. Jobs are accepted as ever. Pausing twice is pausing once.",
            )
            .parameter(name())
            .answers(Answer::json::<QueueView>(
                StatusCode::OK,
                "The queue, paused.",
            ))
            .problems(&[problems::NO_SUCH_QUEUE])
            .handler(pause),
        Call::post("resume_queue", "/v1/queues/{queue}/resume")
            .scope(Scope::Operate)
            .summary("Start a queue's jobs again")
            .parameter(name())
            .answers(Answer::json::<QueueView>(StatusCode::OK, "The queue."))
            .problems(&[problems::NO_SUCH_QUEUE])
            .handler(resume),
        Call::get("list_workers", "/v1/workers")
            .scope(Scope::Read)
            .summary("List live processes and what they run")
            .answers(Answer::json::<WorkerList>(
                StatusCode::OK,
                "Every live process.",
            ))
            .handler(workers),
    ]
}

/// All of them: there is no next page.
#[derive(Debug, Serialize, JsonSchema)]
struct QueueList {
    items: Vec<QueueView>,
    /// Always `null`.
    next_cursor: Option<String>,
}

/// All of them: there is no next page.
#[derive(Debug, Serialize, JsonSchema)]
struct WorkerList {
    items: Vec<WorkerView>,
    /// Always `null`.
    next_cursor: Option<String>,
}

async fn list(State(intake): State<Intake>) -> Result<Json<QueueList>, Problem> {
    let items = views(&intake).await?;
    let next_cursor = None;
    Ok(Json(QueueList { items, next_cursor }))
}

async fn pause(
    State(intake): State<Intake>,
    name: Name,
    caller: Caller,
) -> Result<Json<QueueView>, Problem> {
    let (store, names) = (&*intake.store, [text(name)]);
    admin::pause(store, &intake.queues, &intake.depths, &names, &caller.name).await?;
    view(&intake, &names[0]).await
}

async fn resume(
    State(intake): State<Intake>,
    name: Name,
    caller: Caller,
) -> Result<Json<QueueView>, Problem> {
    let (store, names) = (&*intake.store, [text(name)]);
    admin::resume(store, &intake.queues, &intake.depths, &names, &caller.name).await?;
    view(&intake, &names[0]).await
}

async fn views(intake: &Intake) -> StoreResult<Vec<QueueView>> {
    let (store, broker) = (&*intake.store, &*intake.broker);
    admin::queues(store, Some(broker), &intake.queues, &intake.depths).await
}

async fn view(intake: &Intake, queue: &str) -> Result<Json<QueueView>, Problem> {
    let all = views(intake).await?;
    let view = all.into_iter().find(|view| view.name == queue);
    let gone = || {
        Problem::new(
            problems::NO_SUCH_QUEUE,
            format!("no queue `{queue}` any more"),
        )
    };
    view.map(Json).ok_or_else(gone)
}

async fn workers(State(intake): State<Intake>) -> Result<Json<WorkerList>, Problem> {
    let items = admin::workers(&*intake.store).await?;
    let next_cursor = None;
    Ok(Json(WorkerList { items, next_cursor }))
}

/// What is no text is no queue's name.
fn text(name: Name) -> String {
    name.map_or_else(|_| "\u{fffd}".to_owned(), |Path(name)| name)
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Store(error) => error.into(),
            unknown @ ControlError::Unknown { .. } => {
                Self::new(problems::NO_SUCH_QUEUE, unknown.to_string())
            }
        }
    }
}
