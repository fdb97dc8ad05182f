//! Longshore's messages as AMQP properties and back.

use std::time::{SystemTime, UNIX_EPOCH};

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::job::{APP_ID, DispatchHeader, Message, Publication};

const DISPATCH: &str = "x-longshore-dispatch";
const TRACEPARENT: &str = "traceparent";
const PERSISTENT: u8 = 2;
/// Longest text kept of a header that cannot be read, in characters.
const MAX_UNREADABLE: usize = 100;

/// The properties that `publication` travels with.
pub(super) fn properties(publication: &Publication, now: SystemTime) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(DISPATCH.into(), AMQPValue::LongInt(publication.dispatch));
    if let Some(traceparent) = &publication.traceparent {
        headers.insert(
            TRACEPARENT.into(),
            AMQPValue::LongString(traceparent.as_str().into()),
        );
    }
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_app_id(APP_ID.into())
        .with_timestamp(seconds)
        .with_message_id(publication.id.to_string().into())
        // A kind is at most 128 bytes long; a short string may have 255.
        .with_type(publication.kind.as_str().into())
        .with_headers(headers)
}

/// A delivered message, whoever sent it. Believes nothing and never fails.
pub(super) fn message(properties: &BasicProperties, body: Vec<u8>) -> Message {
    let headers = properties.headers().as_ref();
    let header = |name: &str| headers.and_then(|table| table.inner().get(name));
    Message {
        message_id: text(properties.message_id()),
        kind: text(properties.kind()),
        app_id: text(properties.app_id()),
        dispatch: header(DISPATCH).map_or(DispatchHeader::Absent, dispatch),
        traceparent: header(TRACEPARENT).and_then(string),
        body: body.into(),
        unreadable: false,
    }
}

fn text(property: &Option<ShortString>) -> Option<String> {
    property.as_ref().map(ToString::to_string)
}

fn dispatch(value: &AMQPValue) -> DispatchHeader {
    let number = match value {
        AMQPValue::ShortShortInt(n) => i64::from(*n),
        AMQPValue::ShortShortUInt(n) => i64::from(*n),
        AMQPValue::ShortInt(n) => i64::from(*n),
        AMQPValue::ShortUInt(n) => i64::from(*n),
        AMQPValue::LongInt(n) => i64::from(*n),
        AMQPValue::LongUInt(n) => i64::from(*n),
        AMQPValue::LongLongInt(n) => *n,
        other => return DispatchHeader::Unreadable(shown(other)),
    };
    DispatchHeader::Number(number)
}

fn shown(value: &AMQPValue) -> String {
    let text = string(value).unwrap_or_else(|| format!("{value:?}"));
    text.chars().take(MAX_UNREADABLE).collect()
}

/// The text of a string header; bytes that are no UTF-8 are replaced.
fn string(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lapin::types::{ByteArray, DecimalValue, FieldArray};

    use super::*;
    use crate::job::{JobId, Priority};

    fn publication() -> Publication {
        Publication {
            id: JobId::new(),
            kind: "email.send".parse().unwrap(),
            queue: "email".parse().unwrap(),
            priority: Priority::Normal,
            dispatch: 7,
            traceparent: Some("00-1-2-01".to_owned()),
            payload: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn what_is_published_is_what_is_read() {
        let sent = publication();
        let read = message(&properties(&sent, SystemTime::now()), b"{}".to_vec());
        assert_eq!(read, Message::from(&sent));
    }

    #[test]
    fn the_properties_are_those_of_the_contract() {
        let now = UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_999);
        let properties = properties(&publication(), now);
        assert_eq!(properties.timestamp(), &Some(1_700_000_000));
        assert_eq!(properties.delivery_mode(), &Some(2));
        assert_eq!(properties.content_type(), &Some("application/json".into()));
        assert_eq!(properties.app_id(), &Some("longshore".into()));
    }

    #[test]
    fn a_dispatch_is_an_integer_of_any_width_and_nothing_else() {
        let table = [
            (AMQPValue::ShortShortInt(-7), Some(-7)),
            (AMQPValue::ShortShortUInt(200), Some(200)),
            (AMQPValue::ShortInt(-300), Some(-300)),
            (AMQPValue::ShortUInt(60_000), Some(60_000)),
            (AMQPValue::LongInt(7), Some(7)),
            (AMQPValue::LongUInt(u32::MAX), Some(u32::MAX.into())),
            (AMQPValue::LongLongInt(i64::MIN), Some(i64::MIN)),
            (AMQPValue::Boolean(true), None),
            (AMQPValue::Float(1.0), None),
            (AMQPValue::Double(f64::NAN), None),
            (
                AMQPValue::DecimalValue(DecimalValue { scale: 1, value: 7 }),
                None,
            ),
            (AMQPValue::LongString("7".into()), None),
            (AMQPValue::LongString(vec![0xff, 0xfe].into()), None),
            (AMQPValue::FieldArray(FieldArray::default()), None),
            (AMQPValue::FieldTable(FieldTable::default()), None),
            (AMQPValue::Timestamp(7), None),
            (AMQPValue::ByteArray(ByteArray::from(vec![0; 10_000])), None),
            (AMQPValue::Void, None),
        ];
        for (value, number) in table {
            match (dispatch(&value), number) {
                (DispatchHeader::Number(found), Some(number)) => assert_eq!(found, number),
                (DispatchHeader::Unreadable(text), None) => {
                    assert!(text.chars().count() <= MAX_UNREADABLE);
                }
                (found, _) => panic!("{value:?} reads as {found:?}"),
            }
        }
    }

    #[test]
    fn a_message_without_any_property_is_a_message() {
        let read = message(&BasicProperties::default(), vec![0, 255]);
        assert_eq!(
            read,
            Message {
                body: Bytes::from_static(&[0, 255]),
                ..Message::default()
            }
        );
    }
}
