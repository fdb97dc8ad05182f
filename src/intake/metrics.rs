use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::json_schema;

use super::Readiness;
use super::call::{self, Call};
use super::declaration::{Answer, Content};
use super::gate::Gate;
use super::problem::Problem;
use super::problems;
use crate::admin::{Depths, Pulse};
use crate::store::{Depth, Store, StoreResult};
use crate::telemetry::{Held, Holding, Metrics, OPENMETRICS};

/// What a scrape reads. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Scrape {
    /// Whether the process can do its work.
    pub readiness: Readiness,
    /// What passed through it.
    pub metrics: Arc<Metrics>,
    /// What the store holds; set once, in processes that answer the API: that one of them tells
    /// is enough, and counting costs the store a read.
    pub source: Arc<OnceLock<Source>>,
}

/// Where a scrape learns what the store holds.
#[derive(Debug)]
pub struct Source {
    /// Counts.
    pub store: Arc<dyn Store>,
    /// Keeps the count for a moment.
    pub depths: Arc<Depths>,
    /// Whether the store answers.
    pub pulse: Pulse,
}

/// `/metrics`.
pub fn metrics_routes(scrape: Scrape) -> Router {
    call::routes(calls(), &Gate::default(), &Pulse::default()).with_state(scrape)
}

/// Open to everybody, as health is: whoever watches processes has no key. Queue names and counts
/// are all that it tells.
pub(super) fn calls() -> Vec<Call<Scrape>> {
    let text = Content::of(OPENMETRICS, |_| json_schema!({"type": "string"}));
    vec![
        Call::get("metrics", "/metrics")
            .summary("What passed through this process, for Prometheus and its like")
            .description(
                "OpenMetrics text. A process that answers the API also tells what the store \
                 holds (`longshore_jobs`), as long as the store answers.",
            )
            .answers(Answer::of(StatusCode::OK, text, "The metrics."))
            .handler(metrics),
    ]
}

async fn metrics(State(scrape): State<Scrape>) -> Response {
    let ready = scrape.readiness.waiting_for().is_empty();
    let holding = match scrape.source.get() {
        Some(source) => source.read().await,
        None => None,
    };
    match scrape.metrics.exposition(ready, holding.as_ref()) {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => {
            Problem::new(problems::INTERNAL, "the metrics could not be written").into_response()
        }
    }
}

impl Source {
    /// `None` while the store does not answer: what it held before is not told as what it holds.
    async fn read(&self) -> Option<Holding> {
        let both = async {
            let depths = self.depths.read(&*self.store).await?;
            StoreResult::Ok((depths, self.store.outbox_age().await?))
        };
        let (depths, unpublished) = self.pulse.unless_silent(both).await?.ok()?;
        Some(Holding {
            queues: depths.iter().map(held).collect(),
            oldest_unpublished: unpublished.unwrap_or_default().as_secs_f64(),
        })
    }
}

fn held(depth: &Depth) -> Held {
    let counts = &depth.counts;
    Held {
        queue: counts.queue.clone(),
        states: counts
            .states
            .iter()
            .map(|(state, count)| (state.to_string(), *count))
            .collect(),
        oldest_ready: depth.oldest_ready.unwrap_or_default().as_secs_f64(),
    }
}
