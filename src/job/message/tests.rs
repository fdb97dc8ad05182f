use proptest::prelude::*;

use super::*;

fn queue() -> QueueName {
    "email".parse().unwrap()
}

fn publication() -> Publication {
    Publication {
        id: JobId::new(),
        kind: "email.send".parse().unwrap(),
        queue: queue(),
        priority: Priority::High,
        dispatch: 7,
        traceparent: Some(format!("00-{:032x}-{:016x}-01", 1, 2)),
        payload: Bytes::from_static(b"{\"a\":1}"),
    }
}

#[test]
fn what_is_published_is_what_is_read() {
    let sent = publication();
    let read = decode(&Message::from(&sent), &queue(), Priority::High);
    assert_eq!(read, Decoded::Ours(sent));
}

#[test]
fn a_message_without_a_dispatch_is_foreign() {
    let message = Message {
        message_id: Some("order-17".to_owned()),
        dispatch: DispatchHeader::Absent,
        ..Message::from(&publication())
    };
    let Decoded::Foreign(foreign) = decode(&message, &queue(), Priority::Normal) else {
        panic!("not foreign");
    };
    assert_eq!(foreign.message_id, "order-17");
}

#[test]
fn junk_says_what_is_wrong() {
    let good = Message::from(&publication());
    let table = [
        (
            "no_type",
            Message {
                kind: None,
                ..good.clone()
            },
        ),
        (
            "bad_type",
            Message {
                kind: Some("Not A Kind".into()),
                ..good.clone()
            },
        ),
        (
            "bad_message_id",
            Message {
                message_id: Some("17".into()),
                ..good.clone()
            },
        ),
        (
            "bad_message_id",
            Message {
                message_id: None,
                ..good.clone()
            },
        ),
        (
            "no_message_id",
            Message {
                message_id: None,
                dispatch: DispatchHeader::Absent,
                ..good.clone()
            },
        ),
        (
            "bad_json",
            Message {
                body: Bytes::from_static(b"\xff\x00"),
                ..good.clone()
            },
        ),
        (
            "bad_json",
            Message {
                body: Bytes::new(),
                ..good.clone()
            },
        ),
        (
            "bad_dispatch",
            Message {
                dispatch: DispatchHeader::Number(0),
                ..good.clone()
            },
        ),
        (
            "bad_dispatch",
            Message {
                dispatch: DispatchHeader::Number(i64::MAX),
                ..good.clone()
            },
        ),
        (
            "bad_dispatch",
            Message {
                dispatch: DispatchHeader::Unreadable("x".into()),
                ..good
            },
        ),
    ];
    for (code, message) in table {
        match decode(&message, &queue(), Priority::Normal) {
            Decoded::Junk(junk) => assert_eq!(junk.code, code, "{}", junk.reason),
            other => panic!("{code}: {other:?}"),
        }
    }
}

#[test]
fn what_a_store_would_refuse_is_junk_at_once() {
    let foreign = Message {
        message_id: Some("order-17".to_owned()),
        dispatch: DispatchHeader::Absent,
        ..Message::from(&publication())
    };
    let table = [
        (
            "bad_json",
            Message {
                body: Bytes::from_static(b"{\"a\": \"\xff\"}"),
                ..foreign.clone()
            },
        ),
        (
            "bad_message_id",
            Message {
                message_id: Some("a\0b".to_owned()),
                ..foreign.clone()
            },
        ),
        (
            "bad_message_id",
            Message {
                app_id: Some("\0".to_owned()),
                ..foreign.clone()
            },
        ),
    ];
    for (code, message) in table {
        match decode(&message, &queue(), Priority::Normal) {
            Decoded::Junk(junk) => assert_eq!(junk.code, code, "{}", junk.reason),
            other => panic!("{code}: {other:?}"),
        }
    }
    let odd = Message {
        traceparent: Some("\0".to_owned()),
        ..foreign
    };
    match decode(&odd, &queue(), Priority::Normal) {
        Decoded::Foreign(adopted) => assert_eq!(adopted.traceparent, None),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn no_message_panics(
        message_id: Option<String>, kind: Option<String>, number: Option<i64>,
        body: Vec<u8>, app_id: Option<String>,
    ) {
        let message = Message {
            unreadable: false,
            message_id, kind, app_id, traceparent: None, body: body.into(),
            dispatch: number.map_or(DispatchHeader::Absent, DispatchHeader::Number),
        };
        let _ = decode(&message, &queue(), Priority::Normal);
    }
}

#[test]
fn a_body_that_is_too_large_is_junk_of_which_the_beginning_is_kept() {
    let queue = "email".parse().unwrap();
    let message = |length: usize| Message {
        message_id: Some("m-1".to_owned()),
        kind: Some("email.send".to_owned()),
        body: format!("\"{}\"", "x".repeat(length - 2)).into(),
        ..Message::default()
    };
    let most = message(MAX_PAYLOAD);
    let fits = decode(&most, &queue, Priority::Normal);
    assert!(matches!(fits, Decoded::Foreign(_)), "{fits:?}");
    assert_eq!(storable_body(&most.body).len(), MAX_PAYLOAD);
    let over = message(MAX_PAYLOAD + 1);
    let Decoded::Junk(junk) = decode(&over, &queue, Priority::Normal) else {
        panic!("it is too large")
    };
    assert_eq!(junk.code, "payload_too_large");
    let kept: String = serde_json::from_slice(&storable_body(&over.body)).unwrap();
    assert_eq!(kept.len(), KEPT);
}
