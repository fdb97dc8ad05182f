use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use schemars::JsonSchema;
use serde::Serialize;

use super::call::{Call, CallBuilder};
use super::declaration::{Answer, Parameter, of};
use super::gate::Caller;
use super::query::Query;
use super::selection::{page, paged};
use super::{Intake, Problem, problems};
use crate::admin::cursor;
use crate::job::Scope;
use crate::store::{Operation, OperationCommand, OperationId, OperationState};

pub(super) fn calls() -> Vec<Call<Intake>> {
    let list = Call::get("list_operations", "/v1/operations")
        .scope(Scope::Read)
        .summary("List what operators did and do, newest first");
    vec![
        paged(list)
            .answers(Answer::json::<OperationPage>(StatusCode::OK, "A page."))
            .handler(list_operations),
        one(Call::get("show_operation", "/v1/operations/{id}"))
            .scope(Scope::Read)
            .summary("How an operation stands")
            .handler(show),
        one(Call::post("pause_operation", "/v1/operations/{id}/pause"))
            .scope(Scope::Operate)
            .summary("Stop an operation until it is resumed")
            .problems(&[problems::OPERATION_ENDED])
            .handler(pause),
        one(Call::post("resume_operation", "/v1/operations/{id}/resume"))
            .scope(Scope::Operate)
            .summary("Let an operation go on")
            .problems(&[problems::OPERATION_ENDED])
            .handler(resume),
        one(Call::post("cancel_operation", "/v1/operations/{id}/cancel"))
            .scope(Scope::Operate)
            .summary("Stop an operation for good; what was done stays done")
            .problems(&[problems::OPERATION_ENDED])
            .handler(cancel),
    ]
}

fn one(call: CallBuilder) -> CallBuilder {
    call.parameter(Parameter::path("id", of::<OperationId>, "The operation."))
        .answers(Answer::json::<Operation>(StatusCode::OK, "The operation."))
        .problems(&[problems::NO_SUCH_OPERATION])
}

/// The `{id}` of a path: an extractor.
#[derive(Debug)]
struct OperationPath(OperationId);

impl<S: Send + Sync> FromRequestParts<S> for OperationPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text: Result<Path<String>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        let text = text.map_or_else(|_| "…".to_owned(), |Path(text)| text);
        text.parse().map(Self).map_err(|_| no_such(&text))
    }
}

fn no_such(id: &str) -> Problem {
    let detail = format!("no operation `{id}`; operations are kept for 90 days after their end");
    Problem::new(problems::NO_SUCH_OPERATION, detail)
}

/// Operations, newest first, and where the next page begins.
#[derive(Debug, Serialize, JsonSchema)]
struct OperationPage {
    items: Vec<Operation>,
    next_cursor: Option<String>,
}

const LIST: &str = "operations";

async fn list_operations(
    State(intake): State<Intake>,
    mut query: Query,
) -> Result<Json<OperationPage>, Problem> {
    let asked = page(&mut query, LIST, &());
    query.finish()?;
    let before = asked.before.map(OperationId::from);
    let mut items = intake.store.operations(asked.limit + 1, before).await?;
    let full = items.len() > asked.limit as usize;
    items.truncate(asked.limit as usize);
    let last = items.last().filter(|_| full);
    let next_cursor = last.map(|operation| cursor(LIST, &(), operation.id.uuid()));
    Ok(Json(OperationPage { items, next_cursor }))
}

async fn show(
    State(intake): State<Intake>,
    OperationPath(id): OperationPath,
) -> Result<Json<Operation>, Problem> {
    let operation = intake.store.operation(id).await?;
    operation.map(Json).ok_or_else(|| no_such(&id.to_string()))
}

async fn pause(
    State(intake): State<Intake>,
    OperationPath(id): OperationPath,
    caller: Caller,
) -> Result<Json<Operation>, Problem> {
    command(&intake, id, OperationCommand::Pause, &caller).await
}

async fn resume(
    State(intake): State<Intake>,
    OperationPath(id): OperationPath,
    caller: Caller,
) -> Result<Json<Operation>, Problem> {
    command(&intake, id, OperationCommand::Resume, &caller).await
}

async fn cancel(
    State(intake): State<Intake>,
    OperationPath(id): OperationPath,
    caller: Caller,
) -> Result<Json<Operation>, Problem> {
    command(&intake, id, OperationCommand::Cancel, &caller).await
}

async fn command(
    intake: &Intake,
    id: OperationId,
    command: OperationCommand,
    caller: &Caller,
) -> Result<Json<Operation>, Problem> {
    let stands = intake.store.command(id, command, &caller.name).await?;
    let operation = stands.ok_or_else(|| no_such(&id.to_string()))?;
    let wanted = match command {
        OperationCommand::Pause => OperationState::Paused,
        OperationCommand::Resume => OperationState::Running,
        OperationCommand::Cancel => OperationState::Cancelled,
    };
    if operation.state == wanted {
        return Ok(Json(operation));
    }
    let detail = format!("operation {id} is {} already", operation.state);
    Err(Problem::new(problems::OPERATION_ENDED, detail))
}
