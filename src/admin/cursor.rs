use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Length of an id, and of what binds a cursor to its list, in bytes.
const ID: usize = 16;
const SEAL: usize = 8;

/// The place in a list from which its next page begins: opaque to whoever passes it on, and good
/// for that list with that filter only.
#[must_use]
pub fn cursor(list: &str, filter: &impl Serialize, last: Uuid) -> String {
    let mut bytes = last.as_bytes().to_vec();
    bytes.extend(seal(list, filter, last));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The last element of the page before.
///
/// # Errors
/// What is wrong with it: it is no cursor, or another list's.
pub fn place(list: &str, filter: &impl Serialize, cursor: &str) -> Result<Uuid, &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap_or_default();
    let place = bytes
        .split_at_checked(ID)
        .and_then(|(id, sealed)| Some((Uuid::from_slice(id).ok()?, sealed)));
    match place {
        Some((id, sealed)) if sealed == seal(list, filter, id) => Ok(id),
        Some((_, sealed)) if sealed.len() == SEAL => {
            Err("is of another list or another filter; start again without it")
        }
        _ => Err("is no cursor; pass the `next_cursor` of the page before, as it is"),
    }
}

fn seal(list: &str, filter: &impl Serialize, id: Uuid) -> [u8; SEAL] {
    let filter = serde_json::to_vec(filter).unwrap_or_default();
    let mut digest = Sha256::new();
    digest.update(list.as_bytes());
    digest.update([0]);
    digest.update(filter);
    digest.update(id.as_bytes());
    let digest = digest.finalize();
    let mut seal = [0; SEAL];
    seal.copy_from_slice(&digest[..SEAL]);
    seal
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::JobFilter;

    #[test]
    fn a_cursor_is_good_for_its_list_and_filter_only() {
        let id = Uuid::now_v7();
        let any = JobFilter::default();
        let other = JobFilter {
            code: Some("x".to_owned()),
            ..JobFilter::default()
        };
        let text = cursor("jobs", &any, id);
        assert_eq!(place("jobs", &any, &text), Ok(id));
        assert!(
            place("jobs", &other, &text)
                .unwrap_err()
                .contains("another")
        );
        assert!(place("dead", &any, &text).unwrap_err().contains("another"));
        assert!(place("jobs", &any, &id.to_string()).is_err());
    }

    proptest! {
        #[test]
        fn no_text_passes_for_a_cursor(text in "\\PC{0,60}") {
            prop_assert!(place("jobs", &JobFilter::default(), &text).is_err());
        }
    }
}
