use std::io::Write;
use std::net::TcpStream;

use crate::dev::{Dev, mail};
use serde_json::json;

/// Connections that do nothing.
const IDLE: usize = 1_000;

/// What a process holds in memory, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_connections_cost_little_and_stop_nobody() {
    rlimit::increase_nofile_limit(8192).unwrap();
    let dev = Dev::start().await;
    dev.api.get("/v1/jobs").await.expect(200);
    let before = resident(dev.process.pid());
    let mut idle = Vec::new();
    for n in 0..IDLE {
        let mut stream = TcpStream::connect(("127.0.0.1", dev.port)).unwrap();
        // Half of them stop in the middle of a header.
        if n % 2 == 0 {
            stream
                .write_all(b"GET /v1/jobs HTTP/1.1\r\nhost: loc")
                .unwrap();
        }
        idle.push(stream);
    }
    let body = json!({"kind": "email.send", "payload": mail("x"), "delay": "1h"});
    for _ in 0..20 {
        dev.api.post("/v1/jobs", &body).await.expect(202);
    }
    dev.api.get("/readyz").await.expect(200);
    let grown = resident(dev.process.pid()).saturating_sub(before);
    let each = grown / IDLE as u64;
    assert!(each < 100, "{each} KiB for each idle connection");
}
