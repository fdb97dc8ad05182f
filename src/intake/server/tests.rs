use std::time::Instant;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::intake::{Readiness, health_routes};

/// Short, so that a test waits little; nothing here asserts how short.
const SHORT: Duration = Duration::from_millis(300);
/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

const PATIENT: Limits = Limits {
    connections: 64,
    grace: Duration::ZERO,
    overflow: 4,
    turning_away: LONG,
    headers: LONG,
    stall: LONG,
    drain: LONG,
};

async fn answer(request: Request) -> Response {
    match request.uri().path() {
        "/slow" => {
            tokio::time::sleep(SHORT).await;
            "late".into_response()
        }
        "/never" => std::future::pending().await,
        "/big" => vec![0_u8; 64 << 20].into_response(),
        "/echo" => match axum::body::to_bytes(request.into_body(), 100).await {
            Ok(body) => body.into_response(),
            Err(error) => error.to_string().into_response(),
        },
        _ => "yes".into_response(),
    }
}

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let health = health_routes(Readiness::default());
        let routes = health.clone().fallback(answer);
        let serving = serve_within(limits, listener, routes, health, stop.clone());
        let task = tokio::spawn(serving);
        Self {
            address,
            stop,
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection that has asked for `path` and is kept alive.
    async fn asked(&self, path: &str) -> TcpStream {
        let mut stream = self.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

/// What has come once `end` is in it, or the connection ends.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut some = [0; 1024];
    while !text.contains(end) {
        match stream.read(&mut some).await {
            Ok(0) | Err(_) => break,
            Ok(count) => text.push_str(&String::from_utf8_lossy(&some[..count])),
        }
    }
    text
}

async fn ended(stream: &mut TcpStream) -> String {
    until(stream, "\0 never").await
}

#[tokio::test]
async fn a_header_that_never_ends_and_an_idle_connection_are_given_up() {
    let limits = Limits {
        headers: SHORT,
        ..PATIENT
    };
    let server = Server::start(limits).await;
    let mut silent = server.connect().await;
    assert_eq!(ended(&mut silent).await, "");
    let mut slow = server.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    // Each byte comes in time, all of them together do not.
    let (mut from, mut to) = slow.into_split();
    let drip = tokio::spawn(async move {
        loop {
            tokio::time::sleep(SHORT / 8).await;
            if to.write_all(b"x").await.is_err() {
                return;
            }
        }
    });
    let mut rest = Vec::new();
    let _ = from.read_to_end(&mut rest).await;
    drip.abort();
    let mut kept = server.asked("/").await;
    assert!(ended(&mut kept).await.contains("200 OK"));
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let limits = Limits {
        stall: SHORT,
        ..PATIENT
    };
    let server = Server::start(limits).await;
    let mut deaf = server.asked("/big").await;
    server.stop.cancel();
    // It drains for ever unless the stalled answer is given up.
    server.task.await.unwrap();
    let mut all = Vec::new();
    let _ = deaf.read_to_end(&mut all).await;
    assert!(all.len() < 64 << 20);
}

#[tokio::test]
async fn too_much_of_a_header_is_refused() {
    let server = Server::start(PATIENT).await;
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    for header in [many, format!("x: {}\r\n", "y".repeat(64 << 10))] {
        let mut stream = server.connect().await;
        let request = format!("GET / HTTP/1.1\r\nhost: x\r\n{header}\r\n");
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = ended(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let mut stream = server.connect().await;
    stream
        .write_all(b"\x16\x03\x01 no HTTP\r\n\r\n")
        .await
        .unwrap();
    assert!(ended(&mut stream).await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn the_longest_idle_connection_makes_room_for_a_new_one() {
    let limits = Limits {
        connections: 4,
        ..PATIENT
    };
    let server = Server::start(limits).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        let mut stream = server.asked("/").await;
        assert!(until(&mut stream, "yes").await.contains("200 OK"));
        idle.push(stream);
    }
    let mut fifth = server.asked("/").await;
    assert!(until(&mut fifth, "yes").await.contains("200 OK"));
    assert_eq!(ended(&mut idle[0]).await, "", "the first had to go");
    let again = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    idle[1].write_all(again.as_bytes()).await.unwrap();
    assert!(until(&mut idle[1], "yes").await.contains("200 OK"));
}

/// Two places, and who asks for `/never` keeps one.
const FEW: Limits = Limits {
    connections: 2,
    grace: LONG,
    ..PATIENT
};

#[tokio::test]
async fn with_every_place_at_work_a_new_connection_is_told_to_come_back() {
    let server = Server::start(FEW).await;
    let _busy = [server.asked("/never").await, server.asked("/never").await];
    // More than are turned away at once.
    for _ in 0..FEW.overflow * 2 {
        let mut third = server.asked("/").await;
        let answer = ended(&mut third).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("retry-after: 1") && answer.contains("too_many_connections"));
    }
    let mut probe = server.asked("/healthz").await;
    let answer = ended(&mut probe).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

/// What is unread when a connection closes makes the closing a reset, which overtakes the answer.
#[tokio::test]
async fn who_is_turned_away_reads_the_answer_however_much_was_sent() {
    let server = Server::start(FEW).await;
    let _busy = [server.asked("/never").await, server.asked("/never").await];
    let mut stream = server.connect().await;
    let body = vec![b'x'; 8 << 20];
    let length = body.len();
    let head = format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let answer = ended(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[tokio::test]
async fn who_has_just_come_keeps_the_place_until_the_request_is_read() {
    let server = Server::start(FEW).await;
    let mut first = [server.connect().await, server.connect().await];
    let mut third = server.asked("/").await;
    assert!(ended(&mut third).await.starts_with("HTTP/1.1 503 "));
    for stream in &mut first {
        let request = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(until(stream, "yes").await.contains("200 OK"));
    }
}

/// A connection that was idle for long, and whose request comes at the moment at which its place
/// is given to another.
#[tokio::test]
async fn what_has_come_before_the_place_is_given_away_is_answered() {
    let limits = Limits {
        connections: 1,
        ..PATIENT
    };
    let server = Server::start(limits).await;
    for _ in 0..3 {
        let mut idle = server.asked("/").await;
        assert!(until(&mut idle, "yes").await.contains("200 OK"));
        // Both at once for the server, which has this one thread: first the one that wants the
        // place.
        let newcomer = std::net::TcpStream::connect(server.address).unwrap();
        let mut sender = idle.into_std().unwrap();
        let request = "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
        std::io::Write::write_all(&mut sender, request.as_bytes()).unwrap();
        let mut idle = TcpStream::from_std(sender).unwrap();
        let answer = until(&mut idle, "late").await;
        assert!(answer.contains("200 OK"), "{answer}");
        drop((idle, newcomer));
    }
}

#[tokio::test]
async fn a_stop_ends_idle_connections_at_once_and_answers_what_is_under_way() {
    let server = Server::start(PATIENT).await;
    let began = Instant::now();
    let mut idle = server.asked("/").await;
    assert!(until(&mut idle, "yes").await.contains("200 OK"));
    let mut silent = server.connect().await;
    let mut waiting = server.asked("/slow").await;
    tokio::time::sleep(SHORT / 3).await;
    server.stop.cancel();
    assert_eq!(ended(&mut idle).await, "");
    assert_eq!(ended(&mut silent).await, "");
    let answer = ended(&mut waiting).await;
    assert!(
        answer.contains("200 OK") && answer.ends_with("late"),
        "{answer}"
    );
    server.task.await.unwrap();
    assert!(began.elapsed() < LONG, "it waited for the drain limit");
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut_off_at_the_stop() {
    let limits = Limits {
        drain: SHORT,
        ..PATIENT
    };
    let server = Server::start(limits).await;
    let mut half = server.connect().await;
    half.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx")
        .await
        .unwrap();
    tokio::time::sleep(SHORT / 3).await;
    server.stop.cancel();
    server.task.await.unwrap();
    assert_eq!(ended(&mut half).await, "");
}
