//! The HTTP API: thin. Checks, inserts, answers 202, publishes. It holds no state that matters.

mod health;
mod jobs;
mod problem;
mod server;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

pub use health::{Readiness, health_routes};
pub use problem::Problem;
pub use server::{ServeError, bind, serve};

use crate::admin::{Acceptance, Waiter};
use crate::config::Queues;
use crate::store::Store;
use crate::worker::Registry;

/// Largest body that is read, in bytes: a payload of 1 MiB and what is around it.
const MAX_BODY: usize = 1024 * 1024 + 64 * 1024;
/// Longest `?wait=`.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// What the intake works with.
#[derive(Debug, Clone)]
pub struct Intake {
    /// Reads.
    pub store: Arc<dyn Store>,
    /// Accepts.
    pub acceptance: Acceptance,
    /// Waits for ends.
    pub waiter: Waiter,
    /// What kinds there are.
    pub registry: Arc<Registry>,
    /// Where they wait.
    pub queues: Arc<Queues>,
}

/// The routes of the API.
pub fn api_routes(intake: Intake) -> Router {
    Router::new()
        .route("/v1/jobs", post(jobs::submit).get(jobs::list))
        .route("/v1/jobs/{id}", get(jobs::show))
        .with_state(intake)
}

/// Routes with what every answer needs: problems for unknown paths, wrong methods and panics.
pub fn finish(routes: Router) -> Router {
    routes
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(CatchPanicLayer::custom(problem::panicked))
}
