use sha2::{Digest, Sha256};

use crate::job::{ErrorClass, JobError, JobId, Junk, Message, QueueName, UniqueKey, storable_body};

/// Whose keys those of dead letters are; no app's, which begin with `amqp:`.
const SCOPE: &str = "amqp-dead";

/// A message that can be no live job, to be kept as a dead job.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Made by whoever records it; or the id that an orphaned message carried.
    pub id: JobId,
    /// As far as it is known.
    pub kind: String,
    /// Where it was found.
    pub queue: QueueName,
    /// The body, made JSON: junk is kept as a JSON string.
    pub payload: Vec<u8>,
    /// Why it is dead.
    pub error: JobError,
    /// What tells a repetition of it.
    pub unique: Option<UniqueKey>,
}

impl DeadLetter {
    /// A message that was delivered from `queue` and can be no job.
    #[must_use]
    pub fn of_junk(message: &Message, queue: &QueueName, junk: &Junk) -> Self {
        Self {
            id: JobId::new(),
            kind: message.kind.clone().unwrap_or_else(|| "unknown".to_owned()),
            queue: queue.clone(),
            payload: storable_body(&message.body),
            error: JobError::new(ErrorClass::Invalid, junk.code, &junk.reason),
            unique: unique(message, queue),
        }
    }
}

/// A crash between recording a letter and settling its message delivers the message again, to
/// anybody: the key makes that the same dead job.
///
/// A message is the same if its queue, properties and body are, and if it has a `message_id`:
/// an app that sends all of that twice repeats itself. Without a `message_id` nothing tells a
/// second delivery from a second message, and each is kept: one letter too many is seen, one
/// too few is not.
fn unique(message: &Message, queue: &QueueName) -> Option<UniqueKey> {
    let id = message.message_id.as_deref().filter(|id| !id.is_empty())?;
    let dispatch = format!("{:?}", message.dispatch);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut digest = Sha256::new();
    for part in [
        queue.as_str().as_bytes(),
        text(&message.app_id).as_bytes(),
        id.as_bytes(),
        text(&message.kind).as_bytes(),
        dispatch.as_bytes(),
        &message.body[..],
    ] {
        // With its length, so that no two lists of parts run together to the same bytes.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    Some(UniqueKey {
        scope: SCOPE.to_owned(),
        key: digest.iter().fold(String::new(), |mut hex, byte| {
            hex.push_str(&format!("{byte:02x}"));
            hex
        }),
        fingerprint: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_any_part_is_another_letter() {
        let message = |id: Option<&str>, app: &str, body: &'static str| Message {
            message_id: id.map(str::to_owned),
            app_id: Some(app.to_owned()),
            body: body.into(),
            ..Message::default()
        };
        let (email, payment) = ("email".parse().unwrap(), "payment".parse().unwrap());
        let key = |message, queue| unique(&message, queue).map(|unique| unique.key);
        let first = key(message(Some("m"), "a", "x"), &email);
        assert!(first.is_some());
        assert_eq!(first, key(message(Some("m"), "a", "x"), &email));
        for other in [
            key(message(Some("m"), "a", "x"), &payment),
            key(message(Some("n"), "a", "x"), &email),
            key(message(Some("m"), "b", "x"), &email),
            key(message(Some("m"), "a", "y"), &email),
            key(message(Some("ma"), "", "x"), &email),
        ] {
            assert_ne!(first, other);
        }
        for id in [None, Some("")] {
            assert_eq!(key(message(id, "a", "x"), &email), None);
        }
    }
}
