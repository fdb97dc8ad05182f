use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::config::Secret;
use crate::store::{ApiKey, KeyDigest, KeyId, NewKey, Scopes, Store, StoreError};

/// How every key begins, so that one that leaked is recognised (by people and scanners).
const MARK: &str = "lsk_";
/// How much of a key is kept and shown, in characters: [`MARK`] and 48 of its 256 bits.
const SHOWN: usize = 12;
/// Longest name, in characters.
const MAX_NAME: usize = 64;

/// Why a key was not made or revoked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The name is none.
    #[error(
        "`{0}` is no name for a key: write 1 to {MAX_NAME} letters, digits, `.`, `_` and `-`, \
         not digits alone"
    )]
    Name(String),
    /// There is one of that name.
    #[error("there is a key `{0}` already: choose another name, or revoke that one first")]
    Taken(String),
    /// There is none.
    #[error("no key `{0}`: see `longshore keys list`")]
    Unknown(String),
    /// It is revoked already.
    #[error("key `{0}` was revoked before")]
    Revoked(String),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// SHA-256 of a key, as the store has it.
#[must_use]
pub fn key_digest(key: &str) -> KeyDigest {
    Sha256::digest(key).into()
}

/// Makes a key of 256 random bits. The second half of the answer is the only copy of it: the
/// store keeps a digest.
///
/// # Errors
/// `Name`, `Taken`, or the store's.
pub async fn create_key(
    store: &dyn Store,
    name: &str,
    scopes: Scopes,
    rate: Option<NonZeroU32>,
    by: &str,
) -> Result<(ApiKey, Secret), KeyError> {
    if !is_name(name) {
        return Err(KeyError::Name(name.chars().take(MAX_NAME).collect()));
    }
    let key = format!(
        "{MARK}{}",
        URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
    );
    let new = NewKey {
        name: name.to_owned(),
        prefix: key.chars().take(SHOWN).collect(),
        digest: key_digest(&key),
        scopes,
        rate,
    };
    match store.create_key(&new, by).await? {
        Some(created) => Ok((created, Secret::new(key))),
        None => Err(KeyError::Taken(name.to_owned())),
    }
}

/// Revokes the key of that name or number; running intakes refuse it within seconds.
///
/// # Errors
/// `Unknown`, `Revoked`, or the store's.
pub async fn revoke_key(store: &dyn Store, wanted: &str, by: &str) -> Result<ApiKey, KeyError> {
    let keys = store.keys().await?;
    let number = wanted.parse().ok().map(KeyId);
    let named = |key: &&ApiKey| key.name == wanted || number == Some(key.id);
    // Of several of a name, the one that is in force is meant.
    let found = keys
        .iter()
        .filter(named)
        .max_by_key(|key| (key.revoked_at.is_none(), key.id));
    let Some(key) = found else {
        return Err(KeyError::Unknown(wanted.chars().take(MAX_NAME).collect()));
    };
    if !store.revoke_key(key.id, by).await? {
        return Err(KeyError::Revoked(key.name.clone()));
    }
    Ok(key.clone())
}

fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=MAX_NAME).contains(&text.len())
        && text.chars().all(allowed)
        // A number names a key by its id.
        && !text.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_and_never_numbers() {
        for good in ["shop", "shop-2", "a.b_c", &"x".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "17", "a b", "é", "a\n", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
