use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::latency::Times;
use super::meter::now;

/// How long to wait when the intake asks for it.
const PAUSE: Duration = Duration::from_millis(100);

/// Why load could not be put on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// On the way.
    #[error("the bench's intake cannot be reached: {0}")]
    Network(#[from] std::io::Error),
    /// In the protocol.
    #[error("the bench's intake broke off: {0}")]
    Http(#[from] hyper::Error),
    /// It did not take a job.
    #[error("the bench's intake answered {0}: {1}")]
    Refused(StatusCode, String),
}

/// Where load goes. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) key: String,
}

/// One connection, kept alive.
struct Line {
    target: Target,
    sender: SendRequest<Full<Bytes>>,
}

impl Line {
    async fn open(target: &Target) -> Result<Self, LoadError> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its errors come out at the request that meets them.
        tokio::spawn(connection);
        Ok(Self {
            target: target.clone(),
            sender,
        })
    }

    /// Submits until it is taken: an intake that has no room says so, and is asked again.
    async fn post(&mut self, path: &'static str, body: &Bytes) -> Result<(), LoadError> {
        loop {
            let request = Request::post(path)
                .header(header::HOST, "bench")
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::AUTHORIZATION, format!("Bearer {}", self.target.key))
                .body(Full::new(body.clone()));
            let Ok(request) = request else {
                let what = "a request that is none".to_owned();
                return Err(LoadError::Refused(StatusCode::BAD_REQUEST, what));
            };
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            match status {
                StatusCode::ACCEPTED => return Ok(()),
                StatusCode::SERVICE_UNAVAILABLE => tokio::time::sleep(PAUSE).await,
                other => {
                    let text = String::from_utf8_lossy(&body).into_owned();
                    return Err(LoadError::Refused(other, text));
                }
            }
        }
    }
}

/// Sends `count` requests with these bodies in turn, each connection its next one as soon as its last one
/// is answered. How long each took.
pub(super) async fn flood(
    target: &Target,
    path: &'static str,
    bodies: &[Bytes],
    count: u64,
    connections: usize,
) -> Result<Times, LoadError> {
    let taken = Arc::new(AtomicU64::new(0));
    let one = || {
        let (target, taken) = (target.clone(), taken.clone());
        async move {
            let mut line = Line::open(&target).await?;
            let mut times = Times::default();
            // Ends when as many have been taken as there are to be.
            for body in bodies.iter().cycle() {
                if taken.fetch_add(1, Ordering::Relaxed) >= count {
                    break;
                }
                let sent = Instant::now();
                line.post(path, body).await?;
                times.add(micros(sent.elapsed()));
            }
            Ok::<_, LoadError>(times)
        }
    };
    let all = try_join_all((0..connections).map(|_| one())).await?;
    let mut times = Times::default();
    all.iter().for_each(|one| times.add_all(one));
    Ok(times)
}

/// Submits `count` jobs at a fixed rate, whether or not the ones before are answered. A time
/// counts from when its request was due, so that a stall is felt by all whom it held up
/// (coordinated omission). `body` is given the number of the job and when it was due, see [`Noop::at`](super::Noop).
pub(super) async fn pace(
    target: &Target,
    body: impl Fn(u64, u64) -> Bytes,
    count: u64,
    rate: f64,
    connections: usize,
) -> Result<Times, LoadError> {
    let lines = try_join_all((0..connections).map(|_| Line::open(target))).await?;
    let (back, mut idle) = mpsc::channel(connections);
    for line in lines {
        // There is room for all of them.
        let _ = back.try_send(Ok((line, 0)));
    }
    let mut times = Times::default();
    let mut answered = |took: u64| {
        if took > 0 {
            times.add(took);
        }
    };
    let (mut dues, mut number) = (dues(count, rate), 0);
    while let Some(due) = dues.recv().await {
        let body = body(number, due);
        number += 1;
        let Some(free) = idle.recv().await else { break };
        let (mut line, took): (Line, u64) = free?;
        answered(took);
        let back = back.clone();
        tokio::spawn(async move {
            let sent = line.post("/v1/jobs", &body).await;
            let _ = back.try_send(sent.map(|()| (line, now().saturating_sub(due).max(1))));
        });
    }
    for _ in 0..connections {
        let Some(last) = idle.recv().await else { break };
        let (_, took): (Line, u64) = last?;
        answered(took);
    }
    Ok(times)
}

/// When each of `count` jobs is due, told at that moment; by a thread, as the timers of the runtime
/// are up to two milliseconds late.
fn dues(count: u64, rate: f64) -> mpsc::UnboundedReceiver<u64> {
    let (tell, dues) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let (start, epoch) = (Instant::now(), now());
        for n in 0..count {
            let offset = Duration::from_secs_f64(n as f64 / rate);
            std::thread::sleep(offset.saturating_sub(start.elapsed()));
            if tell.send(epoch + micros(offset)).is_err() {
                break; // the load has failed
            }
        }
    });
    dues
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}
