//! Many clients at once, each on a connection of its own that it keeps as long as it may. Bytes
//! on a socket, so that a reset is seen as one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use futures::future::join_all;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Duration, sleep, timeout};

use crate::support::wait::PATIENCE;

/// What came of it.
#[derive(Debug, Default)]
pub struct Seen {
    /// Ids of what was accepted.
    pub accepted: BTreeSet<String>,
    /// Refusals by code.
    pub refused: BTreeMap<String, usize>,
}

/// An answer, and whether the connection goes on.
pub struct Told {
    pub status: u16,
    pub retry_after: Option<u64>,
    pub body: Value,
    kept: bool,
}

/// Each of so many clients submits so many jobs, one after the other, and each job until it is
/// accepted. Panics at anything but 202 and 503 with `Retry-After`: another status, a reset, a
/// hang.
pub async fn crowd(port: u16, name: &str, clients: usize, each: usize, body: &Value) -> Seen {
    let body = body.to_string();
    let mut all = Seen::default();
    let clients = (0..clients).map(|client| {
        let (body, name) = (body.clone(), name.to_owned());
        tokio::spawn(async move { submit(port, &format!("{name}-{client}"), each, &body).await })
    });
    for seen in join_all(clients).await {
        let seen = seen.unwrap();
        all.accepted.extend(seen.accepted);
        for (code, count) in seen.refused {
            *all.refused.entry(code).or_default() += count;
        }
    }
    all
}

async fn submit(port: u16, name: &str, jobs: usize, body: &str) -> Seen {
    let mut seen = Seen::default();
    let mut connection = None;
    for job in 0..jobs {
        loop {
            let kept = connection.take();
            let is_new = kept.is_none();
            let stream = match kept {
                Some(stream) => stream,
                None => connect(port).await,
            };
            let head = format!("POST /v1/jobs HTTP/1.1\r\nidempotency-key: {name}-{job}\r\n");
            let asking = ask(stream, &head, body);
            let told = timeout(PATIENCE, asking).await.expect("no answer");
            let (told, stream) = match told {
                Ok(told) => told,
                Err(error) if is_new => panic!("{name}-{job}: {error}"),
                // A server may close what is idle at any time, and a client that is slow cannot
                // know: it asks again on another connection (RFC 9112, section 9.3.1).
                Err(_) => continue,
            };
            connection = stream;
            match (told.status, told.retry_after) {
                (202, _) => {
                    seen.accepted.insert(text(&told.body["id"]));
                    break;
                }
                (503, Some(after)) => {
                    *seen.refused.entry(text(&told.body["code"])).or_default() += 1;
                    // Who waits for long gives up the connection: it may be given to another.
                    connection = None;
                    sleep(Duration::from_secs(after)).await;
                }
                (status, after) => panic!("{name}-{job}: {status} {after:?} {}", told.body),
            }
        }
    }
    seen
}

/// One answer on a connection of its own.
pub async fn get(port: u16, path: &str) -> Told {
    let head = format!("GET {path} HTTP/1.1\r\n");
    let asking = ask(connect(port).await, &head, "");
    let told = timeout(PATIENCE, asking).await.expect("no answer");
    told.unwrap_or_else(|error| panic!("{path}: {error}")).0
}

type Connection = BufReader<TcpStream>;

async fn connect(port: u16) -> Connection {
    let connecting = TcpStream::connect(("127.0.0.1", port));
    let stream = timeout(PATIENCE, connecting).await.expect("not taken");
    BufReader::new(stream.expect("refused by the system"))
}

async fn ask(
    mut connection: Connection,
    head: &str,
    body: &str,
) -> io::Result<(Told, Option<Connection>)> {
    let length = body.len();
    let request = format!(
        "{head}host: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    connection.write_all(request.as_bytes()).await?;
    let told = answer(&mut connection).await?;
    let kept = told.kept;
    Ok((told, kept.then_some(connection)))
}

async fn answer(connection: &mut Connection) -> io::Result<Told> {
    let mut line = String::new();
    if connection.read_line(&mut line).await? == 0 {
        return Err(io::Error::other("closed without an answer"));
    }
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let mut told = Told {
        status: status.unwrap_or_else(|| panic!("{line}")),
        retry_after: None,
        body: Value::Null,
        kept: true,
    };
    let mut length = 0;
    loop {
        line.clear();
        connection.read_line(&mut line).await?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        match name {
            "content-length" => length = value.parse().unwrap(),
            "retry-after" => told.retry_after = value.parse().ok(),
            "connection" => told.kept = value != "close",
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    told.body = serde_json::from_slice(&body).unwrap_or_default();
    Ok(told)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
