use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Longest kind or queue name, in bytes. AMQP 0-9-1 short strings end at 255; the prefix
/// `longshore.` and the suffix `.high` are added to queue names.
const MAX_LEN: usize = 128;

/// Why a name is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty or longer than 128 bytes.
    #[error("`{0}` must be 1 to 128 characters long")]
    Length(String),
    /// A character is not allowed.
    #[error(
        "`{0}` may hold only lower-case letters, digits, `_`, `-` and single dots between them"
    )]
    Character(String),
    /// A queue name that Longshore needs for itself.
    #[error("`{0}` is taken: a queue may not be called `jobs` or end in `dead` or `high`")]
    Reserved(String),
}

fn well_formed(text: &str) -> Result<(), NameError> {
    if text.is_empty() || text.len() > MAX_LEN {
        return Err(NameError::Length(text.chars().take(MAX_LEN).collect()));
    }
    let segment = |s: &str| {
        !s.is_empty()
            && s.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
    };
    if text.split('.').all(segment) {
        Ok(())
    } else {
        Err(NameError::Character(text.to_owned()))
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_LEN,
                    "pattern": "^[a-z0-9_-]+(\\.[a-z0-9_-]+)*$",
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name! {
    /// What a job does, as `domain.verb`: `email.send`.
    Kind
}

name! {
    /// A queue's name in `queues.toml`: `email`. On the broker it is `longshore.email`.
    QueueName
}

impl FromStr for Kind {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        well_formed(text)?;
        Ok(Self(text.into()))
    }
}

impl FromStr for QueueName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        well_formed(text)?;
        let last = text.rsplit('.').next().unwrap_or(text);
        if text == "jobs" || last == "dead" || last == "high" {
            return Err(NameError::Reserved(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_dotted_lower_case_words() {
        for good in ["email.send", "a", "image.resize-2", "a_b.c"] {
            assert_eq!(good.parse::<Kind>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "Email.send",
            "email..send",
            ".a",
            "a.",
            "a b",
            "é",
            &"x".repeat(129),
        ] {
            assert!(bad.parse::<Kind>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn queues_may_not_take_the_names_of_their_own_lanes() {
        for bad in ["email.dead", "email.high", "jobs", "dead"] {
            assert!(
                matches!(bad.parse::<QueueName>(), Err(NameError::Reserved(_))),
                "{bad}"
            );
        }
        assert!("email.bulk".parse::<QueueName>().is_ok());
    }
}
