use bytes::Bytes;

use super::{JobId, Kind, NewJob, Priority, QueueName, UniqueKey};

/// The `app_id` of every message that Longshore publishes.
pub const APP_ID: &str = "longshore";

/// Largest payload of a job, in bytes: far below what a broker takes (16 MiB), since each is held
/// several times over on its way.
pub const MAX_PAYLOAD: usize = 1024 * 1024;
/// How much is kept of a body that is too large for a job, in bytes.
const KEPT: usize = 64 * 1024;

/// Highest dispatch a message may name; the store counts in 32 bits.
const MAX_DISPATCH: i64 = i32::MAX as i64;

/// A job on its way to the broker: one dispatch of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// `message_id`.
    pub id: JobId,
    /// `type`.
    pub kind: Kind,
    /// Names the broker queue.
    pub queue: QueueName,
    /// Which of the queue's lanes.
    pub priority: Priority,
    /// `x-longshore-dispatch`.
    pub dispatch: i32,
    /// `traceparent`.
    pub traceparent: Option<String>,
    /// The body.
    pub payload: Bytes,
}

/// The header `x-longshore-dispatch` as it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DispatchHeader {
    /// Not there: somebody else's message.
    #[default]
    Absent,
    /// An integer of any AMQP width.
    Number(i64),
    /// Something that is no integer, as text.
    Unreadable(String),
}

/// A message as it came from the broker, before anything in it is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// AMQP `message_id`.
    pub message_id: Option<String>,
    /// AMQP `type`.
    pub kind: Option<String>,
    /// AMQP `app_id`.
    pub app_id: Option<String>,
    /// Header `x-longshore-dispatch`.
    pub dispatch: DispatchHeader,
    /// Header `traceparent`.
    pub traceparent: Option<String>,
    /// Body.
    pub body: Bytes,
    /// It was there, and nothing of it could be read.
    pub unreadable: bool,
}

impl From<&Publication> for Message {
    fn from(publication: &Publication) -> Self {
        Self {
            message_id: Some(publication.id.to_string()),
            kind: Some(publication.kind.to_string()),
            app_id: Some(APP_ID.to_owned()),
            dispatch: DispatchHeader::Number(publication.dispatch.into()),
            traceparent: publication.traceparent.clone(),
            body: publication.payload.clone(),
            unreadable: false,
        }
    }
}

/// What a message turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A dispatch of a job of ours.
    Ours(Publication),
    /// An app published it by itself: a job to adopt.
    Foreign(Foreign),
    /// Not a job: a dead letter with a reason.
    Junk(Junk),
}

/// A well-formed message without a dispatch header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// What to do.
    pub kind: Kind,
    /// With `app_id`, makes repeated deliveries one job.
    pub message_id: String,
    /// Whose `message_id` it is; empty if none was given.
    pub app_id: String,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Valid JSON.
    pub payload: Bytes,
}

impl Foreign {
    /// The job that the message asks for. The same `message_id` of the same app is the same job,
    /// whatever the body, and however often it is delivered.
    #[must_use]
    pub fn into_job(self, queue: QueueName, priority: Priority) -> NewJob {
        NewJob {
            priority,
            traceparent: self.traceparent,
            unique: Some(UniqueKey {
                scope: format!("amqp:{}", self.app_id),
                key: self.message_id,
                fingerprint: Vec::new(),
            }),
            ..NewJob::new(self.kind, queue, self.payload)
        }
    }
}

/// Why a message can be no job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Junk {
    /// Stable and machine-readable.
    pub code: &'static str,
    /// For people: names the property and the fix.
    pub reason: String,
}

/// Reads a message that was delivered from `queue`'s lane `priority`.
#[must_use]
pub fn decode(message: &Message, queue: &QueueName, priority: Priority) -> Decoded {
    match read(message, queue, priority) {
        Ok(decoded) => decoded,
        Err(junk) => Decoded::Junk(junk),
    }
}

fn read(message: &Message, queue: &QueueName, priority: Priority) -> Result<Decoded, Junk> {
    if message.unreadable {
        return Err(junk(
            "unreadable",
            "a text property or the name of a header was not UTF-8; nothing of the message could be kept",
        ));
    }
    let kind = match &message.kind {
        None => {
            return Err(junk(
                "no_type",
                "the AMQP property `type` must name the job's kind",
            ));
        }
        Some(text) => text
            .parse::<Kind>()
            .map_err(|error| junk("bad_type", &format!("the AMQP property `type`: {error}")))?,
    };
    let message_id = message.message_id.as_deref().filter(|id| !id.is_empty());
    if [message_id, message.app_id.as_deref()]
        .into_iter()
        .flatten()
        .any(|text| text.contains('\0'))
    {
        return Err(junk(
            "bad_message_id",
            "the AMQP properties `message_id` and `app_id` may not hold a NUL",
        ));
    }
    let payload = message.body.clone();
    // Only of use whole; what is none is no reason to refuse a job.
    let traceparent = message
        .traceparent
        .clone()
        .filter(|text| text.len() == 55 && text.is_ascii() && !text.contains('\0'));
    match &message.dispatch {
        DispatchHeader::Absent => {
            let message_id = message_id.ok_or_else(|| {
                junk(
                    "no_message_id",
                    "the AMQP property `message_id` must identify the job",
                )
            })?;
            if payload.len() > MAX_PAYLOAD {
                return Err(too_large(payload.len()));
            }
            json(&payload)?;
            Ok(Decoded::Foreign(Foreign {
                kind,
                message_id: message_id.to_owned(),
                app_id: message.app_id.clone().unwrap_or_default(),
                traceparent,
                payload,
            }))
        }
        DispatchHeader::Number(number) if (1..=MAX_DISPATCH).contains(number) => {
            let id = message_id
                .and_then(|text| text.parse::<JobId>().ok())
                .ok_or_else(|| {
                    junk(
                        "bad_message_id",
                        "a message with `x-longshore-dispatch` must carry a job id as `message_id`",
                    )
                })?;
            json(&payload)?;
            Ok(Decoded::Ours(Publication {
                id,
                kind,
                queue: queue.clone(),
                priority,
                // In range by the guard above.
                dispatch: i32::try_from(*number).unwrap_or(i32::MAX),
                traceparent,
                payload,
            }))
        }
        DispatchHeader::Number(number) => Err(bad_dispatch(&number.to_string())),
        DispatchHeader::Unreadable(text) => Err(bad_dispatch(text)),
    }
}

/// A body as the store can keep and show it: as it is if it is JSON, else as a JSON string
/// with what is not text replaced. Of one that is too large for a job the first 64 KiB, as a
/// JSON string.
#[must_use]
pub fn storable_body(body: &[u8]) -> Vec<u8> {
    let small = body.len() <= MAX_PAYLOAD;
    if small && json(body).is_ok() {
        return body.to_vec();
    }
    let kept = if small { body } else { &body[..KEPT] };
    serde_json::Value::String(String::from_utf8_lossy(kept).into_owned())
        .to_string()
        .into_bytes()
}

fn json(body: &[u8]) -> Result<(), Junk> {
    // RFC 8259, section 8.1; the parser does not look into strings that it skips.
    std::str::from_utf8(body)
        .map_err(|error| junk("bad_json", &format!("the body must be UTF-8: {error}")))?;
    serde_json::from_slice::<serde::de::IgnoredAny>(body)
        .map(|_| ())
        .map_err(|error| junk("bad_json", &format!("the body must be JSON: {error}")))
}

fn too_large(length: usize) -> Junk {
    junk(
        "payload_too_large",
        &format!(
            "the body is {length} bytes long; at most {MAX_PAYLOAD}; its first {KEPT} are kept"
        ),
    )
}

fn bad_dispatch(found: &str) -> Junk {
    junk(
        "bad_dispatch",
        &format!(
            "the header `x-longshore-dispatch` must be an integer from 1 to {MAX_DISPATCH}, not {found}; leave it out to submit a job"
        ),
    )
}

fn junk(code: &'static str, reason: &str) -> Junk {
    Junk {
        code,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
