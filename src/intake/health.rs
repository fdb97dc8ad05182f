use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

type Check = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Whether this process can do its work now, and if not, what it waits for.
#[derive(Clone, Default)]
pub struct Readiness(Arc<RwLock<Vec<(&'static str, Check)>>>);

impl Readiness {
    /// Replaces the check of that name; it answers `None` when all is well, else what is wrong.
    pub fn check(
        &self,
        name: &'static str,
        check: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) {
        let mut checks = self.0.write().unwrap_or_else(PoisonError::into_inner);
        checks.retain(|(known, _)| *known != name);
        checks.push((name, Box::new(check)));
    }

    /// What is waited for, by name; empty when ready.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<(&'static str, String)> {
        let checks = self.0.read().unwrap_or_else(PoisonError::into_inner);
        checks
            .iter()
            .filter_map(|(name, check)| Some((*name, check()?)))
            .collect()
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.waiting_for()).finish()
    }
}

/// `/healthz` (this process runs) and `/readyz` (it can work).
pub fn health_routes(readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(json!({"status": "ok"}))))
        .route("/readyz", get(ready))
        .with_state(readiness)
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let waiting = readiness.waiting_for();
    let status = if waiting.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let reasons: Map<String, Value> = waiting
        .into_iter()
        .map(|(name, reason)| (name.to_owned(), reason.into()))
        .collect();
    let body = json!({"ready": reasons.is_empty(), "waiting_for": reasons});
    (status, Json(body)).into_response()
}
