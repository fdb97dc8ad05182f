use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::call::{Call, CallBuilder};
use super::declaration::{Answer, Content, Parameter, of};
use super::gate::Caller;
use super::query::Query;
use super::selection::{JobPage, PAGE, filter, filtered, jobs, page, paged};
use super::{Intake, Problem, body, problems};
use crate::admin::{BulkRequest, MAX_LIMIT};
use crate::job::{JobId, Kind, QueueName, Scope, State as JobState};
use crate::store::{Action, DeadGroup, NewOperation, Operation, OperationId};

/// Largest body of a bulk operation, in bytes: a thousand ids and some texts.
const MAX_BODY: usize = 256 * 1024;
const LIST: &str = "dead-letters";

pub(super) fn calls() -> Vec<Call<Intake>> {
    let list = Call::get("list_dead_letters", "/v1/dead-letters")
        .scope(Scope::Read)
        .summary("List dead jobs, newest first");
    let groups = Call::get("group_dead_letters", "/v1/dead-letters/groups")
        .scope(Scope::Read)
        .summary("Dead jobs by cause, the most frequent first")
        .description(
            "Jobs of the same kind whose error has the same code and the same shape of message, \
             without the numbers, ids, quoted texts and addresses in it, have one `fingerprint`.",
        );
    let limit = |_: &mut _| json_schema!({"type": "integer", "minimum": 1, "maximum": PAGE.1, "default": PAGE.0});
    vec![
        paged(filtered(list))
            .answers(Answer::json::<JobPage>(StatusCode::OK, "A page."))
            .handler(list_dead),
        filtered(groups)
            .parameter(Parameter::query("limit", limit, "Groups at most."))
            .answers(Answer::json::<Groups>(StatusCode::OK, "The groups."))
            .handler(group),
        bulk(Call::post(
            "requeue_dead_letters",
            "/v1/dead-letters/requeue",
        ))
        .summary("Send dead jobs back to their queues, oldest first")
        .handler(requeue),
        bulk(Call::post("purge_dead_letters", "/v1/dead-letters/purge"))
            .summary("Remove dead jobs for good, oldest first")
            .handler(purge),
    ]
}

fn bulk(call: CallBuilder) -> CallBuilder {
    call.scope(Scope::Operate)
        .description(
            "Begins an operation on the jobs that match now, and answers at once; \
             `/v1/operations/{id}` shows how it goes, pauses and cancels it. It survives every \
             process: whichever lives goes on with it. Jobs that die again meanwhile are not \
             touched. Without any filter say `\"all\": true`. With `dry_run` nothing is done but \
             counting.",
        )
        .body(Content::of("application/json", bulk_schema))
        .answers(Answer::json::<Counted>(
            StatusCode::OK,
            "How many match; for a `dry_run`.",
        ))
        .answers(
            Answer::json::<Operation>(StatusCode::ACCEPTED, "The operation has begun.").header(
                "Location",
                of::<String>,
                "The operation's path.",
            ),
        )
        .problems(&[problems::INVALID_REQUEST])
}

fn bulk_schema(generator: &mut SchemaGenerator) -> Schema {
    let several = |one: Schema| json_schema!({"anyOf": [one.clone(), {"type": "array", "items": one, "minItems": 1}, {"type": "null"}]});
    let tag = json_schema!({"type": "string", "minLength": 1, "maxLength": 100});
    let (kind, queue, id, tag) = (
        several(of::<Kind>(generator)),
        several(of::<QueueName>(generator)),
        several(of::<JobId>(generator)),
        several(tag),
    );
    json_schema!({
        "type": "object",
        "properties": {
            "kind": kind, "queue": queue, "tag": tag, "id": id,
            "code": {"type": ["string", "null"], "minLength": 1, "maxLength": 1000},
            "error": {"type": ["string", "null"], "minLength": 1, "maxLength": 1000},
            "fingerprint": {"type": ["string", "null"], "pattern": "^[0-9a-f]{16}$"},
            "since": {"type": ["string", "null"], "format": "date-time"},
            "until": {"type": ["string", "null"], "format": "date-time"},
            "all": {"type": ["boolean", "null"], "description": "Every dead job; needed where there is no filter."},
            "dry_run": {"type": ["boolean", "null"], "description": "Only count."},
            "limit": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_LIMIT, "description": "Jobs at most, the oldest."},
            "rate": {"type": ["number", "null"], "minimum": 0.001, "maximum": 1_000_000, "description": "Jobs a second at most."},
        },
        "additionalProperties": false,
    })
}

/// What a dry run found.
#[derive(Debug, Serialize, JsonSchema)]
struct Counted {
    /// What would be done.
    action: Action,
    /// Always true.
    dry_run: bool,
    /// Jobs that match, at most `limit`.
    matched: u64,
}

/// Groups of dead jobs.
#[derive(Debug, Serialize, JsonSchema)]
struct Groups {
    items: Vec<DeadGroup>,
}

async fn list_dead(
    State(intake): State<Intake>,
    mut query: Query,
) -> Result<Json<JobPage>, Problem> {
    let mut filter = filter(&mut query);
    filter.states = vec![JobState::Dead];
    let asked = page(&mut query, LIST, &filter);
    query.finish()?;
    jobs(&intake, LIST, &filter, asked).await.map(Json)
}

async fn group(State(intake): State<Intake>, mut query: Query) -> Result<Json<Groups>, Problem> {
    let filter = filter(&mut query);
    let limit = query.one("limit").unwrap_or(PAGE.0);
    if limit == 0 || limit > PAGE.1 {
        query.refuse("limit", &format!("must be from 1 to {}", PAGE.1));
    }
    query.finish()?;
    let items = intake.store.dead_groups(&filter, limit).await?;
    Ok(Json(Groups { items }))
}

async fn requeue(
    State(intake): State<Intake>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    begin(&intake, Action::Requeue, &caller, &headers, body).await
}

async fn purge(
    State(intake): State<Intake>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    begin(&intake, Action::Purge, &caller, &headers, body).await
}

async fn begin(
    intake: &Intake,
    action: Action,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    body::require_json(headers)?;
    let body = body::read(body, MAX_BODY).await?;
    let asked = BulkRequest::read(&body).map_err(Problem::request)?;
    if asked.dry_run {
        let found = intake.store.count_dead(&asked.filter).await?;
        let matched = asked.limit.map_or(found, |limit| found.min(limit));
        let counted = Counted {
            action,
            dry_run: true,
            matched,
        };
        return Ok(Json(counted).into_response());
    }
    let operation = NewOperation {
        id: OperationId::new(),
        action,
        filter: asked.filter,
        limit: asked.limit,
        rate: asked.rate,
        created_by: caller.name.clone(),
    };
    let operation = intake.store.begin(&operation).await?;
    let location = HeaderValue::from_str(&format!("/v1/operations/{}", operation.id));
    let mut response = (StatusCode::ACCEPTED, Json(operation)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
