use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};

use super::places;
use super::port::free_port;
use super::process::Tree;
use super::wait::{PATIENCE, until};

/// What Erlang nodes need to find and trust each other: a port mapper of their own, which ends
/// with the last of them, and a secret.
#[derive(Debug)]
pub struct Epmd {
    _process: Tree,
    pub port: u16,
    pub cookie: String,
}

impl Epmd {
    pub async fn start() -> Self {
        let port = free_port();
        // In the foreground and before the nodes, which would start a daemon that outlives all.
        let process = Tree::spawn(
            Command::new(places::epmd())
                .args(["-port", &port.to_string()])
                .env("ERL_EPMD_ADDRESS", "127.0.0.1")
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        until("epmd listens", PATIENCE, async || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        })
        .await;
        Self {
            _process: process,
            port,
            cookie: uuid::Uuid::now_v7().simple().to_string(),
        }
    }
}
