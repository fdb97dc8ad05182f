use serde_path_to_error::{Path, Segment};

use super::Invalid;
use crate::job::json::pointer_step;

/// A decoding error as a wrong field: the path as a JSON pointer, the text without the
/// line and column that mean nothing inside a payload. A field that is missing is named itself,
/// not by the object that should hold it.
#[must_use]
pub fn invalid(error: &serde_path_to_error::Error<serde_json::Error>) -> Invalid {
    let text = error.inner().to_string();
    let message = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(message, _)| message);
    let pointer = json_pointer(error.path());
    let missing = message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'));
    match missing {
        Some(name) => Invalid::new(pointer + &pointer_step(name), "missing"),
        None => Invalid::new(pointer, bounded(message)),
    }
}

/// Longest message, in bytes: serde quotes the value that it met.
const MAX_MESSAGE: usize = 300;

fn bounded(message: &str) -> String {
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    format!("{}…", &message[..message.floor_char_boundary(MAX_MESSAGE)])
}

/// A path as a JSON pointer (RFC 6901).
#[must_use]
pub fn json_pointer(path: &Path) -> String {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(pointer_step(key)),
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
        assert_eq!(read("{}"), Invalid::new("/a~1b", "missing"));
        let long = format!(r#"{{"a/b": "{}"}}"#, "é".repeat(1000));
        assert!(read(&long).message.len() < 310);
    }
}
