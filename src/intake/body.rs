use axum::body::Body;
use axum::http::{HeaderMap, header};
use futures::StreamExt;

use super::{Problem, problems};

/// How much of a body that is too large is read before it is refused, in bytes: a client that
/// is still sending would see the connection break instead of the answer.
const MAX_DISCARDED: usize = 16 * 1024 * 1024;

/// A whole body of at most `limit` bytes.
pub(super) async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut chunks = body.into_data_stream();
    let (mut kept, mut length) = (Vec::new(), 0_usize);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            Problem::new(
                problems::UNREADABLE_BODY,
                "the body broke off; send it again",
            )
        })?;
        length = length.saturating_add(chunk.len());
        if length > MAX_DISCARDED.max(limit) {
            break;
        }
        if length <= limit {
            kept.extend_from_slice(&chunk);
        } else {
            kept = Vec::new();
        }
    }
    if length > limit {
        let detail = format!("the body may be at most {limit} bytes");
        return Err(Problem::new(problems::BODY_TOO_LARGE, detail));
    }
    Ok(kept)
}

/// True when the body is JSON by its media type: `application/json` or `…+json` (RFC 6839),
/// with any parameters.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let media = media_type(headers);
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

/// The media type without its parameters, in lower case; empty if there is none.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let content = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media = content.split(';').next().unwrap_or_default();
    media.trim().to_ascii_lowercase()
}

/// Refuses a body that is not JSON.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    if is_json(headers) {
        return Ok(());
    }
    let detail = "send the header `Content-Type: application/json`";
    Err(Problem::new(problems::UNSUPPORTED_MEDIA_TYPE, detail))
}
