//! API keys: who may ask the intake for what.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::StoreResult;
use crate::job::Scope;

/// A set of scopes; never empty when it was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    granted: [bool; 3],
}

impl Scopes {
    /// Everything.
    pub const ALL: Self = Self { granted: [true; 3] };

    /// Whether they allow what needs `scope`.
    #[must_use]
    pub fn allow(self, scope: Scope) -> bool {
        self.iter().any(|granted| granted.includes(scope))
    }

    /// Those that were granted, as they were granted.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        let granted = Scope::ALL.into_iter().zip(self.granted);
        granted.filter_map(|(scope, granted)| granted.then_some(scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let given: Vec<Scope> = scopes.into_iter().collect();
        Self {
            granted: Scope::ALL.map(|scope| given.contains(&scope)),
        }
    }
}

impl FromStr for Scopes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|word| word.trim().parse()).collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Scope::as_str).collect();
        f.write_str(&names.join(","))
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// A key's number; never used again, so what belongs to a key never becomes another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct KeyId(pub i64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SHA-256 of a key. The key itself is 256 random bits, so nothing slower is needed.
pub type KeyDigest = [u8; 32];

/// A key that is about to be made. The key itself is nowhere in it.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// For people; unique among the keys that are not revoked.
    pub name: String,
    /// How the key begins, to recognise it by.
    pub prefix: String,
    /// Its digest.
    pub digest: KeyDigest,
    /// What it allows.
    pub scopes: Scopes,
    /// Calls a second in each intake process, if they are limited.
    pub rate: Option<NonZeroU32>,
}

impl NewKey {
    /// For the record.
    pub(super) fn detail(&self) -> serde_json::Value {
        serde_json::json!({"prefix": self.prefix, "scopes": self.scopes, "rate": self.rate})
    }
}

/// A key as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiKey {
    /// Its number.
    pub id: KeyId,
    /// For people.
    pub name: String,
    /// How the key begins.
    pub prefix: String,
    /// SHA-256 of the key; not for answers.
    #[serde(skip)]
    pub digest: KeyDigest,
    /// What it allows.
    pub scopes: Scopes,
    /// Calls a second in each intake process, if they are limited.
    pub rate: Option<NonZeroU32>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last used, give or take a minute; `None` if never.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Where the keys are. Keys are never deleted: a revoked one stays on record, and its number
/// with it.
///
/// # Errors
/// As [`Store`](super::Store) says of all its methods.
#[async_trait]
pub trait Keyring {
    /// Makes a key; `None` if a key of that name exists that is not revoked.
    async fn create_key(&self, key: &NewKey, by: &str) -> StoreResult<Option<ApiKey>>;

    /// Every key there ever was, oldest first.
    async fn keys(&self) -> StoreResult<Vec<ApiKey>>;

    /// Revokes the key of that number, for ever; `false` if there is none, or it is revoked.
    async fn revoke_key(&self, key: KeyId, by: &str) -> StoreResult<bool>;

    /// Remembers that these keys were used now. Written at most once a minute a key.
    async fn touch_keys(&self, keys: &[KeyId]) -> StoreResult<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operate_includes_read_and_nothing_else_includes_anything() {
        let table = [
            ("submit", [true, false, false]),
            ("read", [false, true, false]),
            ("operate", [false, true, true]),
            ("submit,read", [true, true, false]),
            (" read , operate ", [false, true, true]),
        ];
        for (text, expected) in table {
            let scopes: Scopes = text.parse().unwrap();
            let allowed = Scope::ALL.map(|scope| scopes.allow(scope));
            assert_eq!(allowed, expected, "{text}");
        }
        assert_eq!(
            "operate,submit".parse::<Scopes>().unwrap().to_string(),
            "submit,operate"
        );
        for bad in ["", "Submit", "submit,", "all"] {
            assert!(bad.parse::<Scopes>().is_err(), "{bad}");
        }
    }
}
