use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::{Problem, problems};
use crate::admin;

/// How much of a body that is too large is read before it is refused, in bytes: a client that
/// is still sending would see the connection break instead of the answer.
const MAX_DISCARDED: usize = 16 * 1024 * 1024;

/// How long a body may make no progress.
const STALL: Duration = Duration::from_secs(10);
/// How long a body may take in all: a client that sends a byte now and then must not hold its
/// connection, and what was read of it, for ever.
const WHOLE: Duration = Duration::from_secs(60);

/// How long a body that is not wanted is read.
const DISCARDING: Duration = Duration::from_secs(2);

/// A whole body of at most `limit` bytes.
pub(super) async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut chunks = body.into_data_stream();
    let (mut kept, mut length) = (Vec::new(), 0_usize);
    let end = Instant::now() + WHOLE;
    while let Some(chunk) = timeout_at(end.min(Instant::now() + STALL), chunks.next())
        .await
        .map_err(|_| too_slow())?
    {
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

/// Reads a body that is not wanted. A connection that is closed with something unread is reset,
/// and the reset can overtake the answer.
pub(super) async fn discard(body: Body) {
    // What is longer, or slower, has to bear the reset.
    let _ = tokio::time::timeout(DISCARDING, read(body, 0)).await;
}

/// A JSON body of at most `limit` bytes, read strictly into a type.
#[allow(dead_code, reason = "for calls that are on their way")]
pub(super) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<T, Problem> {
    require_json(headers)?;
    let body = read(body, limit).await?;
    Ok(admin::read(&body)?)
}

fn too_slow() -> Problem {
    let detail = format!(
        "the body must arrive within {} s, and without a pause of {} s; send it again",
        WHOLE.as_secs(),
        STALL.as_secs()
    );
    Problem::new(problems::BODY_TIMEOUT, detail)
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;

    use super::*;

    /// A body of `count` bytes, one each time `pause` has passed.
    fn dripping(count: usize, pause: Duration) -> Body {
        Body::from_stream(stream::unfold(count, move |left| async move {
            tokio::time::sleep(pause).await;
            (left > 0).then(|| (Ok::<_, Infallible>("x"), left - 1))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_or_drips_is_given_up() {
        for (count, pause, fine) in [
            (5, STALL / 2, true),
            (1, STALL * 2, false),
            (100, STALL / 2, false),
        ] {
            let read = read(dripping(count, pause), 1000).await;
            match read {
                Ok(bytes) => assert!(fine && bytes.len() == count, "{count}"),
                Err(problem) => {
                    assert!(!fine, "{count}: {problem:?}");
                    assert_eq!(problem.body()["code"], "body_timeout");
                }
            }
        }
    }
}
