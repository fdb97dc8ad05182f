use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::seats::Taking;
use super::server::Limits;

/// Request line and headers together, in bytes; beyond it: 431.
const MAX_HEAD: usize = 32 * 1024;
/// Headers of a request; beyond it: 431.
const MAX_HEADERS: usize = 100;

/// Serves one connection until it ends, its client is too slow, its place is wanted, or the
/// process stops: then the request under way is still answered.
pub(super) async fn serve(
    limits: Limits,
    stream: TcpStream,
    routes: Router,
    taking: Taking,
    stop: CancellationToken,
) {
    // Answers are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let seat = taking.seat.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let busy = seat.busy();
        let answer = routes.clone().oneshot(request.map(Body::new));
        async move {
            let answer = answer.await;
            drop(busy);
            answer
        }
    });
    let io = TokioIo::new(Impatient::new(stream, limits.stall));
    let connection = protocol(limits).serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut leaving = false;
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            () = taking.cut() => return,
            // Before its place is given away: what has come by now is read, and is answered.
            // How it ended is the client's affair; what was asked for has been logged.
            _ = connection.as_mut() => return,
            () = seat.left(), if !leaving => {
                if seat.is_idle() {
                    return;
                }
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Answers one request and closes the connection; gives up what takes too long.
pub(super) async fn serve_once(limits: Limits, stream: TcpStream, routes: Router) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        routes.clone().oneshot(request.map(Body::new))
    });
    let io = TokioIo::new(Impatient::new(stream, limits.stall));
    let connection = protocol(limits)
        .keep_alive(false)
        .serve_connection(io, service);
    // How it ended is the client's affair.
    let _ = tokio::time::timeout(limits.turning_away, connection).await;
}

fn protocol(limits: Limits) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_header_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    protocol
}

/// Whether a connection failed for a reason of its client's, not of this machine's.
pub(super) fn is_clients_own(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// A stream that fails when its peer takes nothing of what is written for too long: an answer
/// that nobody reads would stay in memory.
#[derive(Debug)]
struct Impatient<S> {
    stream: S,
    limit: Duration,
    // Armed while a write waits.
    deadline: Pin<Box<Sleep>>,
    waiting: bool,
}

impl<S> Impatient<S> {
    fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            deadline: Box::pin(tokio::time::sleep(limit)),
            waiting: false,
        }
    }

    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = false;
            return written;
        }
        if !self.waiting {
            self.waiting = true;
            let deadline = Instant::now() + self.limit;
            self.deadline.as_mut().reset(deadline);
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, shut)
    }
}
