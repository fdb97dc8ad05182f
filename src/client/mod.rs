//! A client of the HTTP API, for programs that submit jobs.
//!
//! Whatever goes wrong on the way (a broken connection, a timeout, an intake or its store that
//! does not answer, a rate limit) is tried again with growing pauses until the deadline. That
//! makes no second job: every submission carries an idempotency key.
//!
//! ```no_run
//! use longshore::client::Client;
//! use serde_json::json;
//! use std::time::Duration;
//!
//! # async fn submit() -> Result<(), longshore::client::ClientError> {
//! let client = Client::new("https://jobs.example.org")?.key("lsk_…");
//! let submitted = client
//!     .submit_json("email.send", &json!({"to": ["a@example.org"], "subject": "Hi", "text": "Hello."}))
//!     .idempotency_key("order-17-confirmation")
//!     .delay(Duration::from_secs(60))
//!     .tag("order-17")
//!     .await?;
//! let job = client.wait(submitted.job.id, Duration::from_secs(120)).await?;
//! println!("{} is {}", job.id, job.state);
//! # Ok(())
//! # }
//! ```
//!
//! A program that has the job's type submits it as such: [`Client::submit`].

mod error;
mod retry;
mod submit;
mod transport;

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

pub use error::{ClientError, Problem, WrongField};
pub use submit::{BatchSubmitted, Submit, Submitted};

use crate::job::{JobId, JobView};
use crate::worker::Job;
use retry::Tries;
use transport::{Request, Transport};

/// How long a call may take with all its tries, unless [`Client::deadline`] says otherwise.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long one question for a job's end waits; the API takes at most 60 s.
const WAIT: Duration = Duration::from_secs(30);

/// A client of one intake. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
    deadline: Duration,
}

impl Client {
    /// A client of the intake at `url`, as `https://jobs.example.org` or
    /// `http://127.0.0.1:7070`; a path before `/v1` is kept. Connects when it is first used.
    /// Certificates are checked against the operating system's roots. Proxies of the environment
    /// are not used, and redirects not followed.
    ///
    /// # Errors
    /// [`ClientError::Url`] when it is no `http` or `https` URL, or holds a password or a query.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        Ok(Self {
            transport: Transport::new(url)?,
            deadline: DEADLINE,
        })
    }

    /// Sends this API key. It is never logged, and over `http://` it goes to this machine only:
    /// see [`Client::allow_plain_http`].
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.transport.set_key(key.into());
        self
    }

    /// Sends the key over unencrypted connections to other machines too. Only for networks in
    /// which nobody listens.
    #[must_use]
    pub fn allow_plain_http(mut self) -> Self {
        self.transport.allow_plain_http();
        self
    }

    /// How long a call may take with all its tries: 30 s by default.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Submits a job of a type of one's own; send it with `.await`.
    ///
    /// ```no_run
    /// # use longshore::{client::Client, job::{Done, JobResult}, worker::{Attempt, Job}};
    /// # #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    /// # struct ResizeImage { url: String, width: u32 }
    /// # impl Job for ResizeImage {
    /// #     const KIND: &'static str = "image.resize";
    /// #     type Context = ();
    /// #     async fn run(self, _: &(), _: &Attempt) -> JobResult { Ok(Done) }
    /// # }
    /// # async fn submit(client: Client) -> Result<(), longshore::client::ClientError> {
    /// let image = ResizeImage { url: "https://example.org/a.png".into(), width: 640 };
    /// client.submit(&image).high().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit<J: Job>(&self, job: &J) -> Submit<'_> {
        self.submit_json(J::KIND, job)
    }

    /// Submits a job by the name of its kind; send it with `.await`.
    pub fn submit_json(&self, kind: &str, payload: &(impl Serialize + ?Sized)) -> Submit<'_> {
        Submit::new(self, kind, serde_json::value::to_raw_value(payload))
    }

    /// As [`Client::submit_json`], of JSON text that is sent as it is.
    pub fn submit_raw(&self, kind: &str, payload: Box<RawValue>) -> Submit<'_> {
        Submit::new(self, kind, Ok(payload))
    }

    /// Submits up to 1,000 jobs in one request, all or none; answers in their order.
    ///
    /// # Errors
    /// Those of [`ClientError`]; the pointers of wrong fields begin with the job's position:
    /// `/3/payload/to`.
    pub async fn submit_all(
        &self,
        jobs: impl IntoIterator<Item = Submit<'_>>,
    ) -> Result<Vec<BatchSubmitted>, ClientError> {
        submit::submit_all(self, jobs).await
    }

    /// A job with its attempts; `None` if it is not known (any more).
    ///
    /// # Errors
    /// Those of [`ClientError`].
    pub async fn job(&self, id: JobId) -> Result<Option<JobView>, ClientError> {
        let answer = self.call(Request::get(format!("v1/jobs/{id}"))).await;
        match answer {
            Ok(answer) => answer.json().map(Some),
            Err(ClientError::Problem(problem)) if problem.code == "no_such_job" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits for a job's end, at most `limit`; returns the job as it stands then.
    ///
    /// # Errors
    /// Those of [`ClientError`]; the code is `no_such_job` if it is not known (any more).
    pub async fn wait(&self, id: JobId, limit: Duration) -> Result<JobView, ClientError> {
        let end = Instant::now().checked_add(limit);
        loop {
            let left = end.map_or(WAIT, |end| end.saturating_duration_since(Instant::now()));
            let wait = left.min(WAIT);
            let path = format!("v1/jobs/{id}?wait={}ms", wait.as_millis());
            let job: JobView = self.call(Request::get(path).patient(wait)).await?.json()?;
            if job.state.is_final() || left <= WAIT && end.is_some() {
                return Ok(job);
            }
        }
    }

    async fn call(&self, request: Request) -> Result<transport::Answer, ClientError> {
        let mut tries = Tries::new(self.deadline + request.patience());
        loop {
            let answer = tries.bound(self.transport.send(&request)).await;
            match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) => tries.pause(failure).await?,
            }
        }
    }
}
