use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an API key may do. A call names the one that it needs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Submit jobs.
    Submit,
    /// See everything.
    Read,
    /// Cancel, requeue, pause, purge; includes `read`.
    Operate,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Submit, Self::Read, Self::Operate];

    /// Whether a key with this scope may make a call that needs `wanted`.
    #[must_use]
    pub const fn includes(self, wanted: Self) -> bool {
        matches!(
            (self, wanted),
            (Self::Submit, Self::Submit)
                | (Self::Read, Self::Read)
                | (Self::Operate, Self::Operate | Self::Read)
        )
    }

    /// The scope's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| {
                format!("`{text}` is not a scope; the scopes are submit, read and operate")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operating_includes_reading_and_nothing_else_includes_anything() {
        for has in Scope::ALL {
            for wanted in Scope::ALL {
                let expected = has == wanted || (has, wanted) == (Scope::Operate, Scope::Read);
                assert_eq!(has.includes(wanted), expected, "{has} for {wanted}");
            }
            assert_eq!(has.as_str().parse(), Ok(has));
        }
    }
}
