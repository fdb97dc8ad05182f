use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use super::problems::{self, ProblemKind};
use crate::admin::{FieldCode, FieldError, Refusal};
use crate::store::StoreError;

/// An error answer: problem details (RFC 9457) with a stable `code`.
#[derive(Debug)]
pub struct Problem {
    kind: &'static ProblemKind,
    detail: String,
    more: Map<String, Value>,
    retry_after: Option<u32>,
}

impl Problem {
    /// A problem of that kind; `detail` says what is wrong and what to do.
    pub fn new(kind: &'static ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            more: Map::new(),
            retry_after: None,
        }
    }

    /// Wrong fields of a job, each with its JSON pointer.
    #[must_use]
    pub fn fields(errors: &[FieldError]) -> Self {
        Self::wrong(problems::INVALID_JOB, errors)
    }

    /// A request that is no job is not carried out.
    pub(super) fn request(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(errors) => Self::wrong(problems::INVALID_REQUEST, &errors),
            refusal => refusal.into(),
        }
    }

    fn wrong(kind: &'static ProblemKind, errors: &[FieldError]) -> Self {
        let detail = match errors {
            [only] if only.pointer.is_empty() => only.message.clone(),
            [only] => format!("{}: {}", only.pointer, only.message),
            many => format!("{} fields are wrong", many.len()),
        };
        Self::new(kind, detail).with("errors", json!(errors))
    }

    /// True if it is of that kind.
    pub(super) fn is(&self, kind: &'static ProblemKind) -> bool {
        self.kind.code == kind.code
    }

    /// Tells the caller to come back after this many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Adds a member.
    #[must_use]
    pub(super) fn with(mut self, key: &str, value: Value) -> Self {
        self.more.insert(key.to_owned(), value);
        self
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Malformed { line, column, .. } => Self::new(problems::MALFORMED_JSON, detail)
                .with("line", line.into())
                .with("column", column.into()),
            Refusal::UnknownKind(_) => {
                let error = FieldError::new("/kind", &detail).coded(FieldCode::UnknownKind);
                Self::new(problems::UNKNOWN_KIND, detail).with("errors", json!([error]))
            }
            Refusal::TooLarge(error) => {
                Self::new(problems::BODY_TOO_LARGE, detail).with("errors", json!([error]))
            }
            Refusal::Invalid(errors) => Self::fields(&errors),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_data() {
            let detail = "the store refused a value of the request";
            return Self::new(problems::UNSTORABLE, detail);
        }
        if error.is_overloaded() {
            return Self::overloaded();
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "request failed");
        if error.is_full() {
            return Self::full();
        }
        Self::silent()
    }
}

impl Problem {
    /// The store does not answer. A submission that was cut off between its commit and its
    /// answer was accepted; its key tells, when it is sent again.
    pub(super) fn silent() -> Self {
        let detail = "the store does not answer; what was sent was accepted only if its commit \
                      was under way: send it again, with the same Idempotency-Key if it had one";
        Self::new(problems::STORE_UNAVAILABLE, detail).retry_after(1)
    }

    /// More is to be stored than can be. Who is told has waited for 5 s, and would now again.
    pub(super) fn overloaded() -> Self {
        let detail = "more is offered than can be stored, and the turn of this did not come in \
                      time; nothing of it was accepted: send it again";
        Self::new(problems::OVERLOADED, detail).retry_after(5)
    }

    /// The store cannot write.
    fn full() -> Self {
        let detail = "the store has no room left, and nothing of this was accepted; once there \
                      is room on its disk, send it again";
        Self::new(problems::STORE_UNAVAILABLE, detail).retry_after(1)
    }

    /// As [`Problem::silent`], to who asked and sent nothing.
    pub(super) fn silent_to_reader() -> Self {
        let detail = "the store does not answer; ask again";
        Self::new(problems::STORE_UNAVAILABLE, detail).retry_after(1)
    }

    pub(super) fn body(&self) -> Value {
        let mut body = self.more.clone();
        let code = self.kind.code;
        body.insert(
            "type".to_owned(),
            format!("urn:longshore:problem:{code}").into(),
        );
        body.insert("title".to_owned(), self.kind.title.into());
        body.insert("status".to_owned(), self.kind.status.as_u16().into());
        body.insert("code".to_owned(), code.into());
        body.insert("detail".to_owned(), self.detail.clone().into());
        Value::Object(body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = (self.kind.status, self.body().to_string()).into_response();
        response.extensions_mut().insert(self.kind);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.kind.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"longshore\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

pub(super) async fn not_found() -> Problem {
    let detail = "no such path; the API is under /v1";
    Problem::new(problems::NO_SUCH_PATH, detail)
}

pub(super) async fn method_not_allowed() -> Problem {
    let detail = "this path does not take that method; see the header `Allow`";
    Problem::new(problems::METHOD_NOT_ALLOWED, detail)
}

#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
pub(super) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response<Body> {
    let message = panic.downcast_ref::<&str>().copied().unwrap_or("panic");
    tracing::error!(panic = message, "a request handler panicked");
    let detail = "a fault of the intake; it is logged";
    Problem::new(problems::INTERNAL, detail).into_response()
}
