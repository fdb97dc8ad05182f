use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn same(a: &str, b: &str) -> bool {
    canonical(a.as_bytes()).unwrap() == canonical(b.as_bytes()).unwrap()
}

#[test]
fn what_says_the_same_is_the_same() {
    for (a, b) in [
        ("1", "1.0"),
        ("100", "1e2"),
        ("0.001", "1E-3"),
        ("-0", "0.0e5"),
        ("12.50", "1250e-2"),
        (r#"{"a":1,"b":2}"#, " { \"b\" : 2 ,\n \"a\":1 } "),
        (r#""\u00e9\/\n""#, "\"é/\\u000a\""),
        (r#""\ud83d\ude00""#, "\"😀\""),
        (r#"{"\u0061":1}"#, r#"{"a":1}"#),
        ("[]", "[ ]"),
        ("{}", "{ }"),
    ] {
        assert!(same(a, b), "{a} and {b}");
    }
    for (a, b) in [
        ("1", "10"),
        ("1", "-1"),
        ("1", "\"1\""),
        ("0", "null"),
        ("[1,2]", "[2,1]"),
        ("[12]", "[1,2]"),
        (r#"{"a":null}"#, "{}"),
        (r#"{"a":{"b":1}}"#, r#"{"a":{},"b":1}"#),
        // The same as 64-bit floats.
        ("123456789012345678901", "123456789012345678902"),
        ("0.1", "0.10000000000000000001"),
        ("1e-400", "1e-401"),
        (r#""\u0000""#, "\"\""),
        ("\"é\"", "\"e\u{301}\""),
    ] {
        assert!(!same(a, b), "{a} and {b}");
    }
}

#[test]
fn what_is_no_json_is_located() {
    for (text, line, column) in [
        ("", 1, 1),
        ("  ", 1, 3),
        ("{\n  \"kind\": oops}", 2, 11),
        ("{\"a\":1,}", 1, 8),
        ("{\"é\":1 2}", 1, 8),
        ("[1,]", 1, 4),
        ("[1 2]", 1, 4),
        ("{\"a\" 1}", 1, 6),
        ("{a:1}", 1, 2),
        ("01", 1, 1),
        ("1.", 1, 3),
        ("-", 1, 2),
        ("1e+", 1, 4),
        ("tru", 1, 1),
        ("nulll", 1, 5),
        ("1 1", 1, 3),
        ("\"abc", 1, 5),
        ("\"a\nb\"", 1, 3),
        ("\"a\\x\"", 1, 3),
        ("\"a\\ud800\"", 1, 3),
        ("\"a\\ud800\\u0041\"", 1, 3),
        ("\"a\\udc00\"", 1, 3),
        ("\"\\u12g4\"", 1, 2),
        ("\u{feff}{}", 1, 1),
        ("NaN", 1, 1),
    ] {
        match canonical(text.as_bytes()) {
            Err(JsonFlaw::Syntax {
                line: l, column: c, ..
            }) => assert_eq!((l, c), (line, column), "{text:?}"),
            other => panic!("{text:?}: {other:?}"),
        }
    }
    let invalid = canonical(b"{\n\"a\": \"\xff\"}");
    assert!(
        matches!(invalid, Err(JsonFlaw::Syntax { line: 2, column: 7, message }) if message.contains("UTF-8"))
    );
}

#[test]
fn what_is_ambiguous_is_named_by_its_pointer() {
    let pointers = |text: &str| match canonical(text.as_bytes()) {
        Err(JsonFlaw::Ambiguous(flaws)) => flaws.into_iter().map(|(at, _)| at).collect::<Vec<_>>(),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(pointers(r#"{"a":1,"a":1}"#), ["/a"]);
    assert_eq!(pointers(r#"{"a":1,"\u0061":2}"#), ["/a"]);
    assert_eq!(
        pointers(r#"{"x":[0,{"a/b":1,"c":{"d":1,"d":2},"a/b":2}],"y":1e999}"#),
        ["/x/1/c/d", "/x/1/a~1b", "/y"]
    );
    assert_eq!(pointers(r#"[[1e999],[-1e999]]"#), ["/0/0", "/1/0"]);
    let many = format!("[{}0]", "1e999,".repeat(1000));
    assert_eq!(pointers(&many).len(), MAX_FLAWS);
}

#[test]
fn nesting_is_bounded() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert!(canonical(nested(MAX_DEPTH).as_bytes()).is_ok());
        let deep = canonical(nested(MAX_DEPTH + 1).as_bytes());
        assert!(
            matches!(deep, Err(JsonFlaw::Syntax { message, .. }) if message.contains("64 levels")),
            "{deep:?}"
        );
    }
    assert!(canonical("[".repeat(1_000_000).as_bytes()).is_err());
}

fn texts() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,5})?([eE][-+]?[0-9])?",
        any::<String>().prop_map(|text| Value::String(text).to_string()),
    ];
    scalar.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5)
                .prop_map(|items| format!("[{}]", items.join(" ,\t"))),
            prop::collection::btree_map(any::<String>(), inner, 0..5).prop_map(|members| {
                let member = |(key, value)| format!("{}: {value}", Value::String(key));
                format!(
                    "{{ {} }}",
                    members
                        .into_iter()
                        .map(member)
                        .collect::<Vec<_>>()
                        .join(", ")
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn valid_json_is_taken_and_keeps_its_meaning(text in texts()) {
        let written = canonical(text.as_bytes()).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        let found: Value = serde_json::from_slice(&written).unwrap();
        // Through f64: 1e2 has become 1e2, 100 too.
        prop_assert_eq!(floats(expected), floats(found));
        prop_assert_eq!(canonical(&written).unwrap(), written);
    }

    #[test]
    fn whatever_it_takes_is_json_to_others(text in "[\\[\\]{}:,\"\\\\ua0-9eE.+\\- tfn]{0,12}") {
        prop_assert_eq!(check(text.as_bytes()).err(), canonical(text.as_bytes()).err());
        match (canonical(text.as_bytes()), serde_json::from_str::<Value>(&text)) {
            (Ok(_), Err(error)) => prop_assert!(false, "taken, but {error}: {text}"),
            (Err(JsonFlaw::Syntax { message, .. }), Ok(_)) => prop_assert!(false, "{message}: {text}"),
            _ => {}
        }
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(check(&bytes).err(), canonical(&bytes).err());
    }
}

fn floats(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            let float = number.as_f64().unwrap();
            Value::from(if float == 0.0 { 0.0 } else { float })
        }
        Value::Array(items) => items.into_iter().map(floats).collect(),
        Value::Object(members) => members.into_iter().map(|(k, v)| (k, floats(v))).collect(),
        other => other,
    }
}
