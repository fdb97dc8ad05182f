use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use url::{Host, Url};

use super::error::{ClientError, Problem};
use crate::config::Secret;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one try may take, beyond what the call waits for on purpose.
const ONE_TRY: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes: a job with the largest payload and result, and more.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// How much of an answer that is none is shown, in characters.
const SHOWN: usize = 200;

/// What is sent, the same at every try.
#[derive(Debug)]
pub(super) struct Request {
    method: Method,
    path: String,
    body: Bytes,
    idempotency_key: Option<String>,
    patience: Duration,
}

impl Request {
    pub(super) fn get(path: String) -> Self {
        Self {
            method: Method::GET,
            path,
            body: Bytes::new(),
            idempotency_key: None,
            patience: Duration::ZERO,
        }
    }

    pub(super) fn post(path: &str, body: Vec<u8>, idempotency_key: Option<String>) -> Self {
        Self {
            method: Method::POST,
            body: body.into(),
            idempotency_key,
            ..Self::get(path.to_owned())
        }
    }

    /// The call waits this long on purpose.
    pub(super) fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(super) const fn patience(&self) -> Duration {
        self.patience
    }
}

/// A success.
#[derive(Debug)]
pub(super) struct Answer {
    url: String,
    body: Vec<u8>,
    pub(super) replayed: bool,
}

impl Answer {
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| ClientError::Foreign {
            url: self.url.clone(),
            why: error.to_string(),
        })
    }
}

/// Why a try did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another try would meet the same.
    Final(ClientError),
    /// Another try may succeed.
    Passing {
        what: String,
        /// How long the intake asks to wait.
        after: Option<Duration>,
        problem: Option<Box<Problem>>,
    },
}

impl Failure {
    pub(super) fn late() -> Self {
        Self::passing("no answer in time".to_owned())
    }

    fn passing(what: String) -> Self {
        Self::Passing {
            what,
            after: None,
            problem: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Final(error) => error.fmt(f),
            Self::Passing { what, .. } => f.write_str(what),
        }
    }
}

/// Sends requests to one intake.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    http: reqwest::Client,
    /// Ends in `/`.
    base: Url,
    key: Option<Secret>,
    plain_http: bool,
}

impl Transport {
    pub(super) fn new(url: &str) -> Result<Self, ClientError> {
        let base = base(url)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls()?)
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            // A key goes to nobody but whom it was given for.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| ClientError::Url(root(&error)))?;
        Ok(Self {
            http,
            base,
            key: None,
            plain_http: false,
        })
    }

    pub(super) fn set_key(&mut self, key: String) {
        self.key = Some(Secret::new(key));
    }

    pub(super) fn allow_plain_http(&mut self) {
        self.plain_http = true;
    }

    /// One try.
    pub(super) async fn send(&self, request: &Request) -> Result<Answer, Failure> {
        let url = self
            .base
            .join(&request.path)
            .map_err(|error| Failure::Final(ClientError::Url(error.to_string())))?;
        let headers = self.headers(request).map_err(Failure::Final)?;
        let answer = self
            .http
            .request(request.method.clone(), url)
            .timeout(ONE_TRY + request.patience)
            .headers(headers)
            .body(request.body.clone())
            .send()
            .await
            .map_err(|error| self.failed(&error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = self.body(answer).await?;
        if status.is_success() {
            return Ok(Answer {
                url: self.base.to_string(),
                body,
                replayed: headers.contains_key("idempotent-replayed"),
            });
        }
        Err(self.refused(status, &headers, &body))
    }

    fn headers(&self, request: &Request) -> Result<HeaderMap, ClientError> {
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.key {
            if self.base.scheme() != "https" && !self.plain_http && !is_here(&self.base) {
                return Err(ClientError::PlainHttp(self.base.to_string()));
            }
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", key.expose()))
                .map_err(|_| ClientError::Url("the API key is not printable ASCII".to_owned()))?;
            bearer.set_sensitive(true);
            headers.insert("authorization", bearer);
        }
        if let Some(key) = &request.idempotency_key {
            let key = HeaderValue::from_str(key).map_err(|_| invalid_key())?;
            headers.insert("idempotency-key", key);
        }
        if request.method == Method::POST {
            let json = HeaderValue::from_static("application/json");
            headers.insert("content-type", json);
        }
        Ok(headers)
    }

    async fn body(&self, mut answer: reqwest::Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.failed(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                let why = format!("an answer of more than {MAX_ANSWER} bytes");
                return Err(Failure::Final(self.foreign(why)));
            }
        }
        Ok(body)
    }

    /// The connection could not be made, or broke, or the time was over: also after the request
    /// had arrived.
    fn failed(&self, error: &reqwest::Error) -> Failure {
        if let Some(tls) = tls_error(error) {
            return Failure::Final(ClientError::Tls {
                url: self.base.to_string(),
                why: tls,
            });
        }
        let what = if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            root(error)
        };
        Failure::passing(format!("{}: {what}", self.base))
    }

    fn refused(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
        let problem = serde_json::from_slice::<Problem>(body).ok().map(Box::new);
        let passing = matches!(status.as_u16(), 408 | 429 | 502 | 503 | 504);
        match problem {
            Some(problem) if !passing => Failure::Final(ClientError::Problem(problem)),
            None if !passing => Failure::Final(self.foreign(format!("{status}: {}", shown(body)))),
            problem => Failure::Passing {
                what: problem.as_ref().map_or_else(
                    || format!("{}: {status}", self.base),
                    |problem| format!("{}: {problem}", self.base),
                ),
                after: retry_after(headers),
                problem,
            },
        }
    }

    fn foreign(&self, why: String) -> ClientError {
        ClientError::Foreign {
            url: self.base.to_string(),
            why,
        }
    }
}

fn base(text: &str) -> Result<Url, ClientError> {
    let wrong = |why: &str| Err(ClientError::Url(why.to_owned()));
    let mut url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return wrong(&format!("{error}; it is like https://jobs.example.org")),
    };
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return wrong("it must begin with https:// or http://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("it may not hold a user or password: keys are given apart");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("it may not have a query or a fragment");
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// True if what is sent does not leave the machine.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The operating system's roots; those that cannot be read are left out, and a server that
/// needs one of them is refused by name.
fn tls() -> Result<rustls::ClientConfig, ClientError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Tls {
            url: "TLS".to_owned(),
            why: error.to_string(),
        })?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn tls_error(error: &reqwest::Error) -> Option<String> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(found) = cause {
        let inner = found
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Some(tls.to_string());
        }
        cause = found.source();
    }
    None
}

/// The innermost cause: "error sending request" says nothing.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// In seconds; a date is left alone, for whose clock it is by is not known.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    seconds.parse().ok().map(Duration::from_secs)
}

fn invalid_key() -> ClientError {
    ClientError::Problem(Box::new(Problem {
        status: 422,
        code: "invalid_idempotency_key".to_owned(),
        title: "The idempotency key is not one".to_owned(),
        detail: "an idempotency key is 1 to 255 printable ASCII characters".to_owned(),
        errors: Vec::new(),
    }))
}

fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect()
}
