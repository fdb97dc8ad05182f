use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::call::{self, Call};
use super::declaration::Answer;
use super::gate::Gate;
use crate::admin::Pulse;

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
    call::routes(calls(), &Gate::default(), &Pulse::default()).with_state(readiness)
}

/// Open to everybody: whoever restarts processes has no key.
pub(super) fn calls() -> Vec<Call<Readiness>> {
    vec![
        Call::get("health", "/healthz")
            .summary("Whether the process runs")
            .answers(Answer::json::<Health>(StatusCode::OK, "It runs."))
            .handler(async || Json(Health { status: "ok" })),
        Call::get("readiness", "/readyz")
            .summary("Whether the process can do its work now")
            .answers(Answer::json::<Ready>(StatusCode::OK, "It can."))
            .answers(Answer::json::<Ready>(
                StatusCode::SERVICE_UNAVAILABLE,
                "It waits for something.",
            ))
            .handler(ready),
    ]
}

#[derive(Debug, Serialize, JsonSchema)]
struct Health {
    /// Always `ok`.
    status: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Ready {
    ready: bool,
    /// What is waited for, by name.
    waiting_for: BTreeMap<&'static str, String>,
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let waiting_for: BTreeMap<_, _> = readiness.waiting_for().into_iter().collect();
    let ready = waiting_for.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Ready { ready, waiting_for })).into_response()
}
