//! Calls: each is declared once, and its route, its checks and its description come from that.
//!
//! ```text
//! Call::get("show_job", "/v1/jobs/{id}")
//!     .scope(Scope::Read)
//!     .summary("A job with its attempts")
//!     .parameter(Parameter::path("id", of::<JobId>, "The job."))
//!     .answers(Answer::json::<JobView>(StatusCode::OK, "The job."))
//!     .problems(&[problems::NO_SUCH_JOB])
//!     .handler(show)
//! ```

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::Method;
use axum::http::header::EXPECT;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};

use super::declaration::{Answer, Content, Declaration, Parameter};
use super::gate::Gate;
use super::problem;
use super::problems::{self, ProblemKind};
use super::query;
use super::room::Room;
use super::{Problem, body};
use crate::admin::Pulse;
use crate::job::Scope;

/// A call that has no handler yet.
#[derive(Debug)]
pub(super) struct CallBuilder(Declaration);

/// A declared call and what answers it.
#[derive(Debug)]
pub(super) struct Call<S> {
    pub(super) declaration: Declaration,
    route: MethodRouter<S, Infallible>,
}

impl Call<()> {
    /// `id` becomes OpenAPI's `operationId`: `show_job`.
    pub(super) const fn get(id: &'static str, path: &'static str) -> CallBuilder {
        CallBuilder::new(Method::GET, id, path)
    }

    pub(super) const fn post(id: &'static str, path: &'static str) -> CallBuilder {
        CallBuilder::new(Method::POST, id, path)
    }
}

impl CallBuilder {
    const fn new(method: Method, id: &'static str, path: &'static str) -> Self {
        Self(Declaration {
            method,
            path,
            id,
            summary: "",
            description: "",
            scope: None,
            parameters: Vec::new(),
            bodies: Vec::new(),
            body_is_optional: false,
            answers: Vec::new(),
            hidden: false,
            problems: Vec::new(),
        })
    }

    /// Only with a key that has it; without this the call is open to everybody.
    pub(super) const fn scope(mut self, scope: Scope) -> Self {
        self.0.scope = Some(scope);
        self
    }

    /// One line.
    pub(super) const fn summary(mut self, summary: &'static str) -> Self {
        self.0.summary = summary;
        self
    }

    /// The rest, in Markdown.
    pub(super) const fn description(mut self, description: &'static str) -> Self {
        self.0.description = description;
        self
    }

    /// Leaves the call out of the description.
    pub(super) const fn hidden(mut self) -> Self {
        self.0.hidden = true;
        self
    }

    pub(super) fn parameter(mut self, parameter: Parameter) -> Self {
        self.0.parameters.push(parameter);
        self
    }

    /// A form of the body. None at all: the call takes no body.
    pub(super) fn body(mut self, content: Content) -> Self {
        self.0.bodies.push(content);
        self
    }

    /// A form of the body of a call that takes none as well.
    pub(super) fn optional_body(mut self, content: Content) -> Self {
        self.0.body_is_optional = true;
        self.body(content)
    }

    pub(super) fn answers(mut self, answer: Answer) -> Self {
        self.0.answers.push(answer);
        self
    }

    /// Those that this call has beyond what every call has: refused keys, unknown parameters,
    /// a store that does not answer.
    pub(super) fn problems(mut self, problems: &[&'static ProblemKind]) -> Self {
        self.0.problems.extend_from_slice(problems);
        self
    }

    pub(super) fn handler<S, H, T>(self, handler: H) -> Call<S>
    where
        S: Clone + Send + Sync + 'static,
        H: Handler<T, S>,
        T: 'static,
    {
        let filter = if self.0.method == Method::POST {
            MethodFilter::POST
        } else {
            MethodFilter::GET
        };
        Call {
            declaration: self.0,
            route: on(filter, handler),
        }
    }
}

/// The routes of calls, each behind its checks.
pub(super) fn routes<S>(calls: Vec<Call<S>>, gate: &Gate, pulse: &Pulse) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let room = Room::default();
    let add = |router: Router<S>, call: Call<S>| {
        let path = call.declaration.path;
        let guard = Arc::new(Guard {
            declaration: call.declaration,
            gate: gate.clone(),
            pulse: pulse.clone(),
            room: room.clone(),
        });
        router.route(
            path,
            call.route.route_layer(from_fn_with_state(guard, check)),
        )
    };
    calls
        .into_iter()
        .fold(Router::new(), add)
        .method_not_allowed_fallback(problem::method_not_allowed)
}

#[derive(Debug)]
struct Guard {
    declaration: Declaration,
    gate: Gate,
    pulse: Pulse,
    room: Room,
}

/// What happens before every handler: first who calls, then what is asked. What has a scope
/// needs the store, if only for the key: while that is silent, the call is refused wherever it
/// stands.
async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.declaration.scope {
        None => pass(&guard, None, request, next).await,
        Some(scope) => {
            let passing = pass(&guard, Some(scope), request, next);
            let answer = guard.pulse.unless_silent(passing).await;
            let answer = answer.unwrap_or_else(|| Problem::silent().into_response());
            let kind: Option<&&'static ProblemKind> = answer.extensions().get();
            let silent = kind.is_some_and(|kind| *kind == problems::STORE_UNAVAILABLE);
            match guard.declaration.method {
                Method::GET if silent => Problem::silent_to_reader().into_response(),
                _ => answer,
            }
        }
    }
}

async fn pass(guard: &Guard, scope: Option<Scope>, mut request: Request, next: Next) -> Response {
    if let Some(scope) = scope {
        match guard.gate.admit(scope, request.headers()).await {
            Ok(caller) => request.extensions_mut().insert(caller),
            Err(refused) => return refused.into_response(),
        };
    }
    let known: Vec<&str> = guard.declaration.query().collect();
    match query::read(request.uri().query(), &known) {
        Ok(pairs) => request.extensions_mut().insert(pairs),
        Err(refused) => return refused.into_response(),
    };
    if guard.declaration.bodies.is_empty() {
        return next.run(request).await;
    }
    match guard.room.take(request.headers()).await {
        // The place is kept until the handler is done with the body.
        Ok(_place) => next.run(request).await,
        Err(refused) => refuse(refused, request).await,
    }
}

/// Refuses for want of room. Who waits to be told to go on is not: reading would tell so.
async fn refuse(refused: Problem, request: Request) -> Response {
    if !request.headers().contains_key(EXPECT) {
        body::discard(request.into_body()).await;
    }
    refused.into_response()
}
