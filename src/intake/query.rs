use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::{Problem, problems};
use crate::admin::FieldCode;
use crate::config::closest;

/// The pairs of a request's query, all of them parameters that its call declares.
type Pairs = Arc<[(String, String)]>;

/// The parameters of a query: an extractor. Wrong ones are gathered, and [`Query::finish`]
/// refuses them all at once.
#[derive(Debug)]
pub(super) struct Query {
    pairs: Pairs,
    wrong: Vec<(String, String)>,
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs: Option<Pairs> = parts.extensions.get().cloned();
        Ok(Self {
            pairs: pairs.unwrap_or_default(),
            wrong: Vec::new(),
        })
    }
}

impl Query {
    /// A parameter that may be given once.
    pub(super) fn one<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let mut values = self.all(name);
        if values.len() > 1 {
            self.refuse(name, "give it once");
        }
        values.pop()
    }

    /// A parameter that may be given any number of times.
    pub(super) fn all<T: FromStr<Err: Display>>(&mut self, name: &str) -> Vec<T> {
        let pairs = self.pairs.clone();
        let texts = pairs.iter().filter(|(key, _)| key == name);
        texts
            .filter_map(|(_, text)| {
                text.parse()
                    .map_err(|error: T::Err| self.refuse(name, &error.to_string()))
                    .ok()
            })
            .collect()
    }

    /// Marks a parameter as wrong.
    pub(super) fn refuse(&mut self, name: &str, message: &str) {
        self.wrong.push((name.to_owned(), message.to_owned()));
    }

    /// The problem of all wrong parameters.
    pub(super) fn finish(self) -> Result<(), Problem> {
        refusal(self.wrong)
    }
}

/// Splits a query; refuses what its call does not declare, and what is no text.
pub(super) fn read(query: Option<&str>, known: &[&str]) -> Result<Pairs, Problem> {
    let mut pairs = Vec::new();
    let mut wrong = Vec::new();
    let mut unknown = BTreeSet::new();
    let parts = query.unwrap_or_default().split('&');
    for part in parts.filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match (text(name), text(value)) {
            (Ok(name), value) if !known.contains(&name.as_str()) => {
                if unknown.insert(name.clone()) && unknown.len() <= MAX_UNKNOWN {
                    wrong.push((name.clone(), no_such(&name, known)));
                }
                drop(value);
            }
            (Ok(name), Ok(value)) => pairs.push((name, value)),
            (Ok(name), Err(why)) => wrong.push((name, why.to_owned())),
            (Err(why), _) => wrong.push((name.to_owned(), why.to_owned())),
        }
    }
    refusal(wrong)?;
    Ok(pairs.into())
}

/// Unknown parameters that are named in one answer.
const MAX_UNKNOWN: usize = 20;

/// Strict, where `application/x-www-form-urlencoded` would replace what is no UTF-8.
fn text(encoded: &str) -> Result<String, &'static str> {
    let spaced = encoded.replace('+', " ");
    let text = percent_decode_str(&spaced)
        .decode_utf8()
        .map_err(|_| "must be UTF-8, percent-encoded")?;
    if text.contains('\0') {
        return Err("may not hold a NUL");
    }
    Ok(text.into_owned())
}

fn no_such(name: &str, known: &[&str]) -> String {
    match (closest(name, known), known) {
        (Some(near), _) => format!("no such parameter; did you mean `{near}`?"),
        (None, []) => "no such parameter; this call takes none".to_owned(),
        (None, known) => format!("no such parameter; this call takes {}", known.join(", ")),
    }
}

fn refusal(wrong: Vec<(String, String)>) -> Result<(), Problem> {
    let Some((first, message)) = wrong.first() else {
        return Ok(());
    };
    let detail = match wrong.len() {
        1 => format!("parameter `{first}`: {message}"),
        many => format!("{many} parameters are wrong"),
    };
    let parameter = first.clone();
    let errors: Vec<_> = wrong
        .into_iter()
        .map(|(name, message)| json!({"code": FieldCode::Invalid, "parameter": name, "message": message}))
        .collect();
    Err(Problem::new(problems::INVALID_PARAMETER, detail)
        .with("parameter", parameter.into())
        .with("errors", errors.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: &str) -> serde_json::Value {
        let problem = read(Some(query), &["limit", "state"]).unwrap_err();
        problem.body()["errors"].clone()
    }

    #[test]
    fn what_a_call_declares_is_read_and_nothing_else() {
        let known = ["limit", "state"];
        let pairs = read(Some("state=a%20b&state=c+d&limit"), &known).unwrap();
        let expected = [("state", "a b"), ("state", "c d"), ("limit", "")];
        let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(*pairs, expected);
        assert_eq!(read(None, &known).unwrap().len(), 0);
        let near = refused("limt=5");
        assert_eq!(near[0]["parameter"], "limt");
        assert_eq!(
            near[0]["message"],
            "no such parameter; did you mean `limit`?"
        );
        let many = refused("a=1&b=2&state=%FF&limit=%00");
        assert_eq!(many.as_array().unwrap().len(), 4, "{many}");
        assert_eq!(many[2]["message"], "must be UTF-8, percent-encoded");
        assert_eq!(many[3]["message"], "may not hold a NUL");
    }

    #[test]
    fn wrong_values_are_gathered() {
        let pairs = read(Some("limit=x&limit=2&state=1"), &["limit", "state"]).unwrap();
        let mut query = Query {
            pairs,
            wrong: Vec::new(),
        };
        assert_eq!(query.all::<u32>("state"), [1]);
        assert_eq!(query.one::<u32>("limit"), Some(2));
        query.refuse("state", "too small");
        let body = query.finish().unwrap_err().body();
        let names: Vec<_> = body["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["parameter"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["limit", "state"], "{body}");
    }
}
