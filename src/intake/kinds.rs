use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::Intake;
use super::call::Call;
use super::declaration::Answer;
use crate::job::{Kind, QueueName, Scope};

pub(super) fn calls() -> Vec<Call<Intake>> {
    vec![
        Call::get("list_kinds", "/v1/kinds")
            .scope(Scope::Read)
            .summary("The kinds of jobs, each with its payload's schema and an example")
            .answers(Answer::json::<Kinds>(
                StatusCode::OK,
                "All that this intake takes, by name.",
            ))
            .handler(list),
    ]
}

/// The kinds of jobs.
#[derive(Debug, Serialize, JsonSchema)]
struct Kinds {
    items: Vec<KindView>,
    /// Always null: there is one page.
    next_cursor: Option<String>,
}

/// A kind of job.
#[derive(Debug, Serialize, JsonSchema)]
struct KindView {
    /// Its name.
    kind: Kind,
    /// Where its jobs wait.
    queue: QueueName,
    /// What its payload must be: a JSON Schema (2020-12).
    schema: Value,
    /// A valid payload, if the kind offers one.
    example: Option<Value>,
}

async fn list(State(intake): State<Intake>) -> Json<Kinds> {
    let view = |(kind, entry): (&Kind, &crate::worker::KindEntry)| KindView {
        kind: kind.clone(),
        queue: intake.queues.of_kind(kind).unwrap_or(&entry.queue).clone(),
        schema: entry.schema().clone(),
        example: entry.example(),
    };
    Json(Kinds {
        items: intake.registry.iter().map(view).collect(),
        next_cursor: None,
    })
}
