use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use crate::admin::{FieldError, Refusal};
use crate::store::StoreError;

/// An error answer: problem details (RFC 9457) with a stable `code`.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    more: Map<String, Value>,
    retry_after: Option<u32>,
}

impl Problem {
    /// A problem of that status; `detail` says what is wrong and what to do.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            more: Map::new(),
            retry_after: None,
        }
    }

    /// Wrong fields, each with its JSON pointer.
    #[must_use]
    pub fn fields(errors: &[FieldError]) -> Self {
        let detail = match errors {
            [only] => format!("{}: {}", only.pointer, only.message),
            many => format!("{} fields are wrong", many.len()),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_job", detail)
            .with("errors", json!(errors))
    }

    /// Tells the caller to come back after this many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(super) fn with(mut self, key: &str, value: Value) -> Self {
        self.more.insert(key.to_owned(), value);
        self
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Malformed { line, column, .. } => {
                Self::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
                    .with("line", line.into())
                    .with("column", column.into())
            }
            Refusal::UnknownKind(_) => {
                let pointer = json!([{"pointer": "/kind", "message": detail}]);
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_kind", detail)
                    .with("errors", pointer)
            }
            Refusal::Invalid(errors) => Self::fields(&errors),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_data() {
            let detail = "the store refused a value of this job";
            return Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unstorable", detail);
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "request failed");
        let detail = "the store does not answer; nothing is known to be accepted; try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail).retry_after(1)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Some(members) = body.as_object_mut() {
            members.extend(self.more);
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

pub(super) async fn not_found() -> Problem {
    let detail = "no such path; the API is under /v1";
    Problem::new(StatusCode::NOT_FOUND, "no_such_path", detail)
}

pub(super) async fn method_not_allowed() -> Problem {
    let detail = "this path does not take that method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
pub(super) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response<Body> {
    let message = panic.downcast_ref::<&str>().copied().unwrap_or("panic");
    tracing::error!(panic = message, "a request handler panicked");
    let detail = "a fault of the intake; it is logged";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}
