//! The HTTP API: thin. Checks, inserts, answers 202, publishes. It holds no state that matters.

mod body;
mod browser;
mod call;
mod connection;
#[expect(dead_code, reason = "the description of the API reads the rest")]
mod declaration;
mod gate;
mod health;
mod jobs;
mod known_keys;
mod problem;
pub mod problems;
mod query;
mod seats;
mod server;
mod submit;

use std::sync::Arc;

use axum::Router;
use tower_http::catch_panic::CatchPanicLayer;

pub use gate::{Gate, GateError};
pub use health::{Readiness, health_routes};
pub use problem::Problem;
pub use server::{ServeError, bind, serve};

use crate::admin::{Acceptance, Pulse, Waiter};
use crate::config::Queues;
use crate::store::Store;
use crate::worker::Registry;
use call::Call;

/// What the intake works with.
#[derive(Debug, Clone)]
pub struct Intake {
    /// Reads.
    pub store: Arc<dyn Store>,
    /// Whether the store answers.
    pub pulse: Pulse,
    /// Accepts.
    pub acceptance: Acceptance,
    /// Waits for ends.
    pub waiter: Waiter,
    /// What kinds there are.
    pub registry: Arc<Registry>,
    /// Where they wait.
    pub queues: Arc<Queues>,
    /// Who may call.
    pub gate: Gate,
}

/// Every call of the API, but for health.
fn calls() -> Vec<Call<Intake>> {
    [submit::calls(), jobs::calls()]
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
