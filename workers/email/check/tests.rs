use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::payload::example;
use super::*;

fn valid() -> Value {
    json!({"to": ["ada@example.com"], "subject": "Hello", "text": "Hi"})
}

fn with(changes: &Value) -> Value {
    let mut payload = valid();
    for (key, value) in changes.as_object().unwrap() {
        payload[key] = value.clone();
    }
    payload
}

fn pointers(payload: Value) -> Vec<String> {
    let payload: SendEmail = serde_json::from_value(payload).unwrap();
    let wrong = payload.check().err().unwrap_or_default();
    wrong.into_iter().map(|invalid| invalid.pointer).collect()
}

fn attachment(content: &str) -> Value {
    json!({"filename": "a.bin", "content": content})
}

#[test]
fn what_is_right_passes() {
    assert_eq!(example().check(), Ok(()));
    for payload in [
        valid(),
        with(&json!({"subject": ""})),
        with(&json!({"to": [], "bcc": ["ada@example.com"]})),
        with(
            &json!({"headers": {"List-Unsubscribe": "<https://example.com/u?x=1>", "X-Note": "größer"}}),
        ),
        with(
            &json!({"attachments": [attachment("TWFu\r\nTWFu"), attachment("TWE"), attachment("TWE=")]}),
        ),
    ] {
        assert_eq!(pointers(payload.clone()), Vec::<String>::new(), "{payload}");
    }
}

#[test]
fn every_wrong_field_is_named() {
    let table = [
        (json!({"to": []}), "/to"),
        (json!({"to": vec!["a@b.c"; 101]}), "/to"),
        (json!({"to": ["a@b.c", "nobody"]}), "/to/1"),
        (json!({"to": ["a@b.c, d@e.f"]}), "/to/0"),
        (json!({"cc": ["a@b.c\r\nBcc: d@e.f"]}), "/cc/0"),
        (json!({"bcc": ["@"]}), "/bcc/0"),
        (json!({"from": ""}), "/from"),
        (json!({"reply_to": "x"}), "/reply_to"),
        (json!({"subject": "a\nBcc: d@e.f"}), "/subject"),
        (json!({"subject": "a".repeat(901)}), "/subject"),
        (
            json!({"subject": format!("a{}b", " ".repeat(21))}),
            "/subject",
        ),
        (
            json!({"to": [format!("{} <a@b.c>", "a".repeat(900))]}),
            "/to/0",
        ),
        (json!({"text": null}), "/text"),
        (json!({"subject": null}), "/subject"),
        (json!({"template": "receipt"}), "/text"),
        (
            json!({"template": "receipt", "text": null, "html": "x", "subject": null}),
            "/html",
        ),
        (json!({"data": {}}), "/data"),
        (
            json!({"headers": {"X-A": "a\r\nBcc: d@e.f"}}),
            "/headers/X-A",
        ),
        (
            json!({"headers": {"X-A\r\nBcc": "d@e.f"}}),
            "/headers/X-A\r\nBcc",
        ),
        (json!({"headers": {"X A": "b"}}), "/headers/X A"),
        (json!({"headers": {"a/b~c:": "d"}}), "/headers/a~1b~0c:"),
        (json!({"headers": {"": "b"}}), "/headers/"),
        (json!({"headers": {"bCC": "d@e.f"}}), "/headers/bCC"),
        (
            json!({"headers": {"Content-Type": "text/x"}}),
            "/headers/Content-Type",
        ),
        (json!({"headers": {"X-A": "a", "x-a": "b"}}), "/headers/x-a"),
        (json!({"headers": {"X-A": "a".repeat(901)}}), "/headers/X-A"),
        (
            json!({"attachments": [attachment("TWFu"), attachment("T")]}),
            "/attachments/1/content",
        ),
        (
            json!({"attachments": [attachment("TW-u")]}),
            "/attachments/0/content",
        ),
        (
            json!({"attachments": [{"filename": "", "content": ""}]}),
            "/attachments/0/filename",
        ),
        (
            json!({"attachments": [{"filename": "a\"\r\n", "content": ""}]}),
            "/attachments/0/filename",
        ),
        (
            json!({"attachments": [{"filename": "a", "content": "", "content_type": "pdf"}]}),
            "/attachments/0/content_type",
        ),
        (
            json!({"attachments": [{"filename": "a", "content": "", "content_type": "a/b\r\nX: y"}]}),
            "/attachments/0/content_type",
        ),
        (
            json!({"attachments": [{"filename": "a", "content": "", "content_type": "Multipart/mixed"}]}),
            "/attachments/0/content_type",
        ),
    ];
    for (changes, pointer) in table {
        assert_eq!(pointers(with(&changes)), [pointer], "{changes}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let payload = with(&json!({"to": ["x"], "subject": "\n", "attachments": [attachment("!")]}));
    assert_eq!(
        pointers(payload),
        ["/to/0", "/subject", "/attachments/0/content"]
    );
}

#[test]
fn attachments_together_are_limited() {
    let half = "A".repeat(MAX_ATTACHED / 2 / 3 * 4);
    let fits = with(&json!({"attachments": [attachment(&half), attachment(&half)]}));
    assert_eq!(pointers(fits), Vec::<String>::new());
    let over = with(
        &json!({"attachments": [attachment(&half), attachment(&half), attachment("AAAAAAAA")]}),
    );
    assert_eq!(pointers(over), ["/attachments"]);
}

#[test]
fn unknown_fields_are_refused() {
    for extra in ["body", "attachment"] {
        let mut payload = valid();
        payload[extra] = json!("x");
        let error = serde_json::from_value::<SendEmail>(payload).unwrap_err();
        assert!(error.to_string().contains(extra), "{error}");
    }
}

#[test]
fn the_schema_describes_every_field_and_has_an_example() {
    let schema = schemars::schema_for!(SendEmail).to_value();
    let fields = schema["properties"].as_object().unwrap();
    assert_eq!(fields.len(), 12);
    assert!(
        fields
            .values()
            .all(|field| field["description"].is_string()),
        "{schema}"
    );
    assert_eq!(schema["additionalProperties"], json!(false));
    assert_eq!(example().check(), Ok(()));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(field_name(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn field_name() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "to",
            "subject",
            "text",
            "html",
            "from",
            "cc",
            "bcc",
            "template",
            "data",
            "reply_to",
            "headers",
            "attachments",
            "filename",
            "content",
            "content_type",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn no_payload_panics(payload in any_json()) {
        if let Ok(payload) = serde_json::from_value::<SendEmail>(payload) {
            let _ = payload.check();
        }
    }
}
