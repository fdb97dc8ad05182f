use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;

use super::known_keys::{Found, KnownKeys};
use super::{Problem, browser, problems};
use crate::admin::key_digest;
use crate::config::Secret;
use crate::job::Scope;
use crate::store::{KeyDigest, Scopes, Store, StoreError};

/// Decides who may call. The only place that does: every call passes it before its handler.
///
/// **Invariant:** it is open only on a loopback address, and only as long as there has never
/// been a key. The first key closes it, in every running process, within seconds; revoking the
/// last one does not open it again.
///
/// The default one lets nobody through: it stands before calls that are open to everybody.
#[derive(Debug, Clone, Default)]
pub struct Gate(Option<Arc<Rule>>);

#[derive(Debug)]
struct Rule {
    admin: Option<KeyDigest>,
    loopback: bool,
    keys: KnownKeys,
}

/// Why an intake may not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// Whoever reaches the address could do everything, or, with every key revoked, nobody
    /// anything.
    #[error(
        "there is no API key, and {0} can be reached from other machines: make one with \
         `longshore keys create NAME`, set LONGSHORE_ADMIN_KEY, or listen on 127.0.0.1"
    )]
    NoKeys(SocketAddr),
    /// The keys could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A caller who needs no key: everybody on this machine.
const ANONYMOUS: &str = "anonymous";
/// The caller with `LONGSHORE_ADMIN_KEY`.
const ADMIN: &str = "admin";

impl Gate {
    /// The gate of an intake at `address`, where `admin` is a key with every scope. Starts the
    /// task that keeps the store's keys known; it ends with the last clone.
    ///
    /// # Errors
    /// `NoKeys` where other machines reach the address and no key is in force; the store's.
    pub async fn open(
        store: Arc<dyn Store>,
        admin: Option<&Secret>,
        address: SocketAddr,
    ) -> Result<Self, GateError> {
        let keys = KnownKeys::start(store).await?;
        let loopback = address.ip().to_canonical().is_loopback();
        if admin.is_none() && !loopback && !keys.any_in_force() {
            return Err(GateError::NoKeys(address));
        }
        Ok(Self(Some(Arc::new(Rule {
            admin: admin.map(|key| key_digest(key.expose())),
            loopback,
            keys,
        }))))
    }

    /// Whether it lets everybody on this machine through: there has never been a key.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.as_ref().is_some_and(|rule| rule.is_open())
    }

    /// Lets a request through that may make a call of this scope.
    pub(super) async fn admit(&self, scope: Scope, headers: &HeaderMap) -> Result<Caller, Problem> {
        let Some(rule) = &self.0 else {
            return Err(unauthenticated("this call is nobody's"));
        };
        if rule.is_open() {
            browser::guard(headers)?;
            // The first key may have been made since.
            rule.keys.refresh().await?;
        }
        if rule.is_open() {
            return Ok(Caller::new(ANONYMOUS, ANONYMOUS));
        }
        let digest = key_digest(bearer(headers)?);
        let admin = rule.admin.as_ref();
        if admin.is_some_and(|admin| admin.ct_eq(&digest).into()) {
            return Ok(Caller::new(ADMIN, ADMIN));
        }
        match rule.keys.find(&digest).await? {
            Found::Key(key) => {
                key.spend()?;
                within(key.scopes, scope, &key.name)?;
                Ok(Caller::new(format!("key:{}", key.id), &key.name))
            }
            Found::Nothing => Err(unauthenticated(
                "the key is unknown or revoked; `longshore keys create NAME` makes one",
            )),
        }
    }
}

impl Rule {
    fn is_open(&self) -> bool {
        self.loopback && self.admin.is_none() && !self.keys.any_ever()
    }
}

/// The key that a request carries (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (given.next(), given.next()) else {
        return Err(unauthenticated(
            "send an API key in the header `Authorization: Bearer KEY`, once",
        ));
    };
    only.to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim())
        .filter(|key| !key.is_empty())
        .ok_or_else(|| {
            unauthenticated("the header `Authorization` must be `Bearer KEY`, with an API key")
        })
}

fn within(scopes: Scopes, wanted: Scope, name: &str) -> Result<(), Problem> {
    if scopes.allow(wanted) {
        return Ok(());
    }
    let detail = format!("this call needs the scope `{wanted}`; key `{name}` has {scopes}");
    Err(Problem::new(problems::FORBIDDEN, detail).with("scope", wanted.as_str().into()))
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(problems::UNAUTHENTICATED, detail)
}

/// Who makes a call; an extractor for handlers of calls that have a scope.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// Whose idempotency keys these are: the API key's id.
    pub(super) owner: String,
    /// The API key's name, for the record of what operators do.
    pub(super) name: String,
}

impl Caller {
    fn new(owner: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            owner: owner.into(),
            name: name.into(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get().cloned();
        caller.ok_or_else(|| Problem::new(problems::INTERNAL, "the call has no scope"))
    }
}
