use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use uuid::Uuid;

use super::call::{Call, CallBuilder};
use super::declaration::{Answer, Content, Parameter, of};
use super::gate::Caller;
use super::query::Query;
use super::selection::{JobPage, filter, filtered, jobs, page, paged};
use super::submit::{idempotency_key, key_reused, key_schema};
use super::{Intake, Problem, body, problems};
use crate::admin::{BulkRequest, FieldError, MAX_LIMIT, Refusal, cursor, unknown_queue};
use crate::job::{JobId, Kind, QueueName, Scope, State as JobState, UniqueKey};
use crate::store::{Action, Begun, DeadGroup, NewOperation, Operation, OperationId};

/// Largest body of a bulk operation, in bytes: a thousand ids and some texts.
const MAX_BODY: usize = 256 * 1024;
const LIST: &str = "dead-letters";
const GROUPS: &str = "dead-letters/groups";

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
    vec![
        paged(filtered(list))
            .answers(Answer::json::<JobPage>(StatusCode::OK, "A page."))
            .handler(list_dead),
        paged(filtered(groups))
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
        .parameter(Parameter::header(
            "Idempotency-Key",
            key_schema,
            "Makes it safe to send the same request again: the same key and body are the same \
             operation, and another body is refused. Keys live for 24 hours.",
        ))
        .body(Content::of("application/json", bulk_schema))
        .answers(Answer::json::<Counted>(
            StatusCode::OK,
            "How many match; for a `dry_run`.",
        ))
        .answers(
            Answer::json::<Operation>(StatusCode::ACCEPTED, "The operation has begun.")
                .header("Location", of::<String>, "The operation's path.")
                .header(
                    "Idempotent-Replayed",
                    |_| json_schema!({"const": "true"}),
                    "There if the key was sent before: this is the operation that it began then.",
                ),
        )
        .problems(&[
            problems::INVALID_REQUEST,
            problems::INVALID_IDEMPOTENCY_KEY,
            problems::IDEMPOTENCY_KEY_REUSED,
        ])
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
            "error_pattern": {"type": ["string", "null"], "minLength": 1, "maxLength": 1000, "description": "A regular expression that the error's `code: message` matches somewhere."},
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
    next_cursor: Option<String>,
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
    let asked = page(&mut query, GROUPS, &filter);
    query.finish()?;
    // By size, which is no key: the place is how many came before.
    let skip = asked.before.map_or(0, |place| place.as_u128());
    let skip = u32::try_from(skip).unwrap_or(u32::MAX);
    let groups = intake.store.dead_groups(&filter, asked.limit + 1, skip);
    let mut items = groups.await?;
    let full = items.len() > asked.limit as usize;
    items.truncate(asked.limit as usize);
    let next = Uuid::from_u128(u128::from(skip) + u128::from(asked.limit));
    let next_cursor = full.then(|| cursor(GROUPS, &filter, next));
    Ok(Json(Groups { items, next_cursor }))
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
    let (store, queues) = (&*intake.store, &intake.queues);
    if let Some(unknown) = unknown_queue(&asked.filter.queues, queues, store).await? {
        let error = FieldError::new("/queue", unknown);
        return Err(Problem::request(Refusal::Invalid(vec![error])));
    }
    let key = operation_key(headers, action, &body, caller)?;
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
    let (operation, replayed) = match key {
        None => (store.begin(&operation).await?, false),
        Some(key) => match store.begin_once(&operation, &key).await? {
            Begun::Now(operation) => (operation, false),
            Begun::Before(operation) => (operation, true),
            Begun::KeyReused => return Err(key_reused()),
        },
    };
    let location = HeaderValue::from_str(&format!("/v1/operations/{}", operation.id));
    let mut response = (StatusCode::ACCEPTED, Json(operation)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if replayed {
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert("idempotent-replayed", yes);
    }
    Ok(response)
}

/// The keys of operations are apart from those of jobs.
fn operation_key(
    headers: &HeaderMap,
    action: Action,
    body: &[u8],
    caller: &Caller,
) -> Result<Option<UniqueKey>, Problem> {
    let key = idempotency_key(headers, body, caller)?;
    Ok(key.map(|key| UniqueKey {
        scope: format!("operation:{}", caller.owner),
        fingerprint: [action.as_str().as_bytes(), &key.fingerprint].concat(),
        ..key
    }))
}
