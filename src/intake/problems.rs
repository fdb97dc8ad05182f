//! Every problem that the API answers with. The codes are stable: programs decide by them.

use axum::http::StatusCode;

/// A kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemKind {
    /// Stable and machine-readable.
    pub code: &'static str,
    /// The answer's status.
    pub status: StatusCode,
    /// The same for every occurrence.
    pub title: &'static str,
    /// When it is answered, and what to do, for the API's description.
    pub meaning: &'static str,
}

impl ProblemKind {
    /// Whether the answer carries `Retry-After`.
    pub(super) fn tells_when(&self) -> bool {
        matches!(self.status.as_u16(), 429 | 503)
    }
}

macro_rules! problems {
    ($($name:ident = $code:literal, $status:ident, $title:literal, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $name: &ProblemKind = &ProblemKind {
                code: $code,
                status: StatusCode::$status,
                title: $title,
                meaning: $meaning,
            };
        )*

        /// All of them.
        pub const ALL: &[&ProblemKind] = &[$($name),*];
    };
}

problems! {
    UNREADABLE_BODY = "unreadable_body", BAD_REQUEST, "The body broke off",
        "The connection ended before the whole body had arrived.";
    MALFORMED_JSON = "malformed_json", BAD_REQUEST, "The body is not valid JSON",
        "The body is not JSON (RFC 8259). `line` and `column`, 1-based, say where it stops being it.";
    UNAUTHENTICATED = "unauthenticated", UNAUTHORIZED, "An API key is needed",
        "Send an API key that is in force: `Authorization: Bearer KEY`.";
    FORBIDDEN = "forbidden", FORBIDDEN, "The API key may not do this",
        "The key lacks the scope that the call needs; `scope` names it.";
    FOREIGN_ORIGIN = "foreign_origin", FORBIDDEN, "Web pages of other sites may not call",
        "The intake asks for no key, and so answers only programs on its own machine.";
    RATE_LIMITED = "rate_limited", TOO_MANY_REQUESTS, "The API key makes too many calls",
        "The key's rate is exceeded. Try again after `Retry-After` seconds.";
    NO_SUCH_PATH = "no_such_path", NOT_FOUND, "There is no such path",
        "No call has this path.";
    NO_SUCH_JOB = "no_such_job", NOT_FOUND, "There is no such job",
        "The job was never accepted here, or was removed after its retention.";
    JOB_REMOVED = "job_removed", GONE, "The job of the idempotency key has been removed",
        "The key was sent before with the same body. Its job, `id`, was accepted then, and removed since.";
    NO_SUCH_QUEUE = "no_such_queue", NOT_FOUND, "There is no such queue",
        "No queue of that name is in the queue file, worked by a live process, or paused.";
    NO_SUCH_OPERATION = "no_such_operation", NOT_FOUND, "There is no such operation",
        "The operation was never begun here, or ended more than 90 days ago.";
    NOT_CANCELLABLE = "not_cancellable", CONFLICT, "The job has come to its end",
        "Only a job that waits or runs can be cancelled; `state` says where it stands.";
    NOT_REQUEUEABLE = "not_requeueable", CONFLICT, "The job is not dead and not cancelled",
        "Only dead and cancelled jobs are sent back; `state` says where it stands.";
    OPERATION_ENDED = "operation_ended", CONFLICT, "The operation has come to its end",
        "An operation that is done or cancelled does not change any more.";
    METHOD_NOT_ALLOWED = "method_not_allowed", METHOD_NOT_ALLOWED,
        "The path does not take this method",
        "The header `Allow` lists the methods that the path takes.";
    BODY_TIMEOUT = "body_timeout", REQUEST_TIMEOUT, "The body came too slowly",
        "The body stalled, or did not arrive in time. Send it again.";
    BODY_TOO_LARGE = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large",
        "The body exceeds what this call reads, or its payload 1 MiB: then `errors` names it. In a batch, such a payload is a wrong field of its job.";
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE,
        "The body is of a media type that the call does not take",
        "The header `Content-Type` must name a media type that the call takes.";
    INVALID_PARAMETER = "invalid_parameter", UNPROCESSABLE_ENTITY, "A parameter is wrong",
        "A parameter of the query is unknown or has a wrong value; `errors` names each.";
    INVALID_JOB = "invalid_job", UNPROCESSABLE_ENTITY, "The job is not valid",
        "Fields are missing, unknown or wrong; `errors` names each by its JSON pointer.";
    INVALID_REQUEST = "invalid_request", UNPROCESSABLE_ENTITY, "The request is not valid",
        "Fields are missing, unknown or wrong; `errors` names each by its JSON pointer.";
    UNKNOWN_KIND = "unknown_kind", UNPROCESSABLE_ENTITY, "There is no such kind of job",
        "No kind of that name is known here; `GET /v1/kinds` lists those that are.";
    INVALID_IDEMPOTENCY_KEY = "invalid_idempotency_key", UNPROCESSABLE_ENTITY,
        "The idempotency key is not one",
        "An idempotency key is 1 to 255 printable ASCII characters.";
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused", UNPROCESSABLE_ENTITY,
        "The idempotency key was used for something else",
        "The key was sent before with another body; a new job needs a new key.";
    UNSTORABLE = "unstorable", UNPROCESSABLE_ENTITY, "The store refused a value",
        "The database cannot hold a value of the request.";
    INTERNAL = "internal", INTERNAL_SERVER_ERROR, "A fault of the intake",
        "A bug; it is logged.";
    TOO_MANY_CONNECTIONS = "too_many_connections", SERVICE_UNAVAILABLE,
        "The intake answers as many requests as it can",
        "Every connection that this process serves is at work. Try again after `Retry-After` seconds.";
    OVERLOADED = "overloaded", SERVICE_UNAVAILABLE, "More is offered than can be stored",
        "Its turn to be stored did not come in time; nothing was accepted. Try again after `Retry-After` seconds.";
    STORE_UNAVAILABLE = "store_unavailable", SERVICE_UNAVAILABLE, "The store does not answer",
        "Nothing is known to be accepted. Try again after `Retry-After` seconds, with the same `Idempotency-Key`.";
    STARTING = "starting", SERVICE_UNAVAILABLE, "The intake is starting",
        "It waits for the database. Try again after `Retry-After` seconds.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ALL;

    #[test]
    fn codes_are_unique_and_every_text_is_there() {
        let codes: BTreeSet<&str> = ALL.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), ALL.len());
        for kind in ALL {
            assert!(kind.status.is_client_error() || kind.status.is_server_error());
            assert!(!kind.title.ends_with('.') && kind.meaning.ends_with('.'));
        }
    }
}
