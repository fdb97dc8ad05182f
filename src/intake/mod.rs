//! The HTTP API: thin. Checks, inserts, answers 202, publishes. It holds no state that matters.

mod audit;
mod batch;
mod body;
mod browser;
mod call;
mod connection;
mod dead_letters;
mod declaration;
mod docs;
mod gate;
mod health;
mod jobs;
mod kinds;
mod known_keys;
mod metrics;
mod openapi;
mod operate;
mod operations;
mod payloads;
mod problem;
pub mod problems;
mod query;
mod queues;
mod room;
mod seats;
mod selection;
mod server;
mod submit;

use std::sync::Arc;

use axum::Router;
use tower_http::catch_panic::CatchPanicLayer;

pub use batch::Readers;
pub use gate::{Gate, GateError};
pub use health::{Readiness, health_routes};
pub use metrics::{Scrape, Source, metrics_routes};
pub use openapi::Description;
pub use problem::Problem;
pub use server::{ServeError, bind, serve};

use crate::admin::{Acceptance, Depths, Pulse, Waiter};
use crate::broker::Broker;
use crate::config::Queues;
use crate::store::Store;
use crate::worker::Registry;
use call::Call;
use declaration::Declaration;

/// What the intake works with.
#[derive(Debug, Clone)]
pub struct Intake {
    /// Reads.
    pub store: Arc<dyn Store>,
    /// Whether the store answers.
    pub pulse: Pulse,
    /// Tells what its queues hold.
    pub broker: Arc<dyn Broker>,
    /// Accepts.
    pub acceptance: Acceptance,
    /// Waits for ends.
    pub waiter: Waiter,
    /// What kinds there are.
    pub registry: Arc<Registry>,
    /// Where they wait.
    pub queues: Arc<Queues>,
    /// What those hold.
    pub depths: Arc<Depths>,
    /// How many batches are read at once.
    pub readers: Readers,
    /// Who may call.
    pub gate: Gate,
    /// What the API says of itself.
    pub description: Description,
}

/// What is declared of every call.
fn declarations() -> Vec<Declaration> {
    let api = calls().into_iter().map(|call| call.declaration);
    let health = health::calls().into_iter().map(|call| call.declaration);
    let metrics = metrics::calls().into_iter().map(|call| call.declaration);
    api.chain(health).chain(metrics).collect()
}

/// Every call of the API, but for those that every process answers: health and metrics.
fn calls() -> Vec<Call<Intake>> {
    [
        submit::calls(),
        batch::calls(),
        jobs::calls(),
        queues::calls(),
        operate::calls(),
        dead_letters::calls(),
        operations::calls(),
        audit::calls(),
        kinds::calls(),
        docs::calls(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The routes of the API.
pub fn api_routes(intake: Intake) -> Router {
    call::routes(calls(), &intake.gate, &intake.pulse).with_state(intake)
}

/// Routes with what every answer needs: problems for unknown paths and panics.
pub fn finish(routes: Router) -> Router {
    routes
        .fallback(problem::not_found)
        .layer(CatchPanicLayer::custom(problem::panicked))
}
