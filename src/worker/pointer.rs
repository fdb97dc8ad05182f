use serde_path_to_error::{Path, Segment};

use super::Invalid;

/// A decoding error as a wrong field: the path as a JSON pointer, the text without the
/// line and column that mean nothing inside a payload.
#[must_use]
pub fn invalid(error: &serde_path_to_error::Error<serde_json::Error>) -> Invalid {
    let text = error.inner().to_string();
    let message = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(message, _)| message);
    Invalid::new(json_pointer(error.path()), message)
}

/// A path as a JSON pointer (RFC 6901).
#[must_use]
pub fn json_pointer(path: &Path) -> String {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { variant } => Some(format!("/{variant}")),
            Segment::Unknown => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Payload {
        #[serde(rename = "a/b")]
        _numbers: Vec<u8>,
    }

    fn read(text: &str) -> Invalid {
        let mut reader = serde_json::Deserializer::from_str(text);
        let result: Result<Payload, _> = serde_path_to_error::deserialize(&mut reader);
        invalid(&result.unwrap_err())
    }

    #[test]
    fn a_wrong_field_is_named_by_its_pointer() {
        let wrong = read(r#"{"a/b": [1, "x"]}"#);
        assert_eq!(wrong.pointer, "/a~1b/1");
        assert!(wrong.message.contains("expected u8"), "{wrong}");
        assert!(!wrong.message.contains("line"), "{wrong}");
        assert_eq!(read(r#"{"c": 1}"#).pointer, "/c");
    }
}
