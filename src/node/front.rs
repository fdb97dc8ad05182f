use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

use crate::intake::{self, Problem, Scrape, problems};

/// Health and metrics.
pub(super) fn always(scrape: Scrape) -> Router {
    let health = intake::health_routes(scrape.readiness.clone());
    health.merge(intake::metrics_routes(scrape))
}

/// What is there always, and the API once it is there.
pub(super) fn front(always: Router, api: Option<Arc<OnceLock<Router>>>) -> Router {
    let Some(api) = api else {
        return intake::finish(always);
    };
    always.fallback(move |request: Request| {
        let api = api.clone();
        async move { forward(&api, request).await }
    })
}

async fn forward(api: &OnceLock<Router>, request: Request) -> Response {
    match api.get() {
        Some(router) => match router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => {
            let detail = "the intake is starting: it waits for the database";
            Problem::new(problems::STARTING, detail)
                .retry_after(1)
                .into_response()
        }
    }
}
