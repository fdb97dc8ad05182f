use std::future::IntoFuture;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::transport::{Answer, Request};
use super::{Client, ClientError};
use crate::job::{JobId, JobView, Priority};

/// What `POST /v1/jobs` takes.
#[derive(Debug, Serialize)]
struct Body {
    kind: String,
    payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<String>,
    #[serde(skip_serializing_if = "is_normal")]
    priority: Priority,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    /// Only in a batch; alone it is a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
}

fn is_normal(priority: &Priority) -> bool {
    !priority.is_high()
}

/// A submission that is sent by awaiting it.
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited"]
pub struct Submit<'a> {
    client: &'a Client,
    body: Body,
    wrong: Option<serde_json::Error>,
}

/// An accepted job.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// As it stands.
    pub job: JobView,
    /// True if the idempotency key was sent before: this is the job it made then.
    pub replayed: bool,
}

impl<'a> Submit<'a> {
    pub(super) fn new(
        client: &'a Client,
        kind: &str,
        payload: Result<Box<RawValue>, serde_json::Error>,
    ) -> Self {
        let (payload, wrong) = match payload {
            Ok(payload) => (Some(payload), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            client,
            body: Body {
                kind: kind.to_owned(),
                payload,
                run_at: None,
                delay: None,
                priority: Priority::Normal,
                max_attempts: None,
                tags: Vec::new(),
                idempotency_key: None,
            },
            wrong,
        }
    }

    /// The same key and job again is the same job, for 24 hours or as long as the job is kept.
    /// Without one, a key is made for this one call: its retries are safe, a second call is
    /// another job. 1 to 255 printable ASCII characters.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.body.idempotency_key = Some(key.into());
        self
    }

    /// Not before this moment.
    pub fn run_at(mut self, at: DateTime<Utc>) -> Self {
        self.body.run_at = Some(at);
        self
    }

    /// Not before this long from now, to the millisecond.
    pub fn delay(self, delay: Duration) -> Self {
        self.delay_text(format!("{}ms", delay.as_millis()))
    }

    /// As [`Submit::delay`], as the API takes it: `30s`, `10m`.
    pub fn delay_text(mut self, delay: impl Into<String>) -> Self {
        self.body.delay = Some(delay.into());
        self
    }

    /// Ahead of the queue's other jobs.
    pub fn high(mut self) -> Self {
        self.body.priority = Priority::High;
        self
    }

    /// Counted failures after which it is dead, instead of the queue's own limit.
    pub fn max_attempts(mut self, limit: u32) -> Self {
        self.body.max_attempts = Some(limit);
        self
    }

    /// A label to find it by; may be called again.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.body.tags.push(tag.into());
        self
    }

    /// What is sent, under a key for all tries: what was accepted, though the answer was lost,
    /// is replayed.
    fn sealed(mut self) -> Result<(Body, String), ClientError> {
        if let Some(error) = self.wrong {
            return Err(ClientError::Payload(error));
        }
        let given = self.body.idempotency_key.take();
        let key = given.unwrap_or_else(|| Uuid::now_v7().to_string());
        Ok((self.body, key))
    }

    async fn send(self) -> Result<Submitted, ClientError> {
        let client = self.client;
        let (body, key) = self.sealed()?;
        let body = serde_json::to_vec(&body).map_err(ClientError::Payload)?;
        let request = Request::post("v1/jobs", body, Some(key));
        let answer: Answer = client.call(request).await?;
        Ok(Submitted {
            replayed: answer.replayed,
            job: answer.json()?,
        })
    }
}

/// One job of an accepted batch.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct BatchSubmitted {
    /// The job.
    pub id: JobId,
    /// True if its idempotency key was sent before: this is the job that it made then.
    pub replayed: bool,
    /// As it stands; none if it was replayed and has been removed since.
    pub job: Option<JobView>,
}

#[derive(Debug, Deserialize)]
struct BatchAnswer {
    items: Vec<BatchSubmitted>,
}

/// All of them in one request, each under a key of its own.
pub(super) async fn submit_all(
    client: &Client,
    jobs: impl IntoIterator<Item = Submit<'_>>,
) -> Result<Vec<BatchSubmitted>, ClientError> {
    let mut bodies = Vec::new();
    for job in jobs {
        let (body, key) = job.sealed()?;
        bodies.push(Body {
            idempotency_key: Some(key),
            ..body
        });
    }
    let bodies = serde_json::to_vec(&bodies).map_err(ClientError::Payload)?;
    let request = Request::post("v1/jobs/batch", bodies, None);
    let answer: BatchAnswer = client.call(request).await?.json()?;
    Ok(answer.items)
}

impl<'a> IntoFuture for Submit<'a> {
    type Output = Result<Submitted, ClientError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.send().boxed()
    }
}
