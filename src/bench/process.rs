use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::usage::Tree;
use super::{Reading, Timings};

/// How long a process may take to start, or to say what it has counted.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a process of the bench is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// HTTP and relay.
    Intake,
    /// Runs the jobs.
    Worker,
    /// Both, embedded.
    Dev,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Worker => "worker",
            Self::Dev => "dev",
        }
    }
}

/// What a process tells when it is up.
#[derive(Debug, Deserialize)]
struct Up {
    address: SocketAddr,
}

/// A process of the bench could not be started, or has ended.
#[derive(Debug, thiserror::Error)]
#[error("the bench's {role} {what}; what it said is above")]
pub struct ProcessError {
    role: &'static str,
    what: String,
}

/// A process of this program that is measured. It ends when this is dropped or lets go of its
/// standard input.
#[derive(Debug)]
pub struct BenchProcess {
    role: Role,
    /// Where it answers HTTP.
    pub address: SocketAddr,
    child: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl BenchProcess {
    /// Starts one and waits until it is up. `arguments` make this program one of the bench.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(
        role: Role,
        arguments: &[String],
        environment: &[(&'static str, String)],
    ) -> Result<Self, ProcessError> {
        let failed = |what: String| ProcessError {
            role: role.as_str(),
            what,
        };
        let program = std::env::current_exe()
            .map_err(|error| failed(format!("has no program to run: {error}")))?;
        let mut child = Command::new(program)
            .args(["bench", "--part", role.as_str()])
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // An interrupt at the terminal is for the bench, which ends its processes in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("did not start: {error}")))?;
        let piped = child.stdin.take().zip(child.stdout.take());
        let (orders, answers) = piped.ok_or_else(|| failed("has no pipes".to_owned()))?;
        let mut answers = BufReader::new(answers).lines();
        let line = tokio::time::timeout(PATIENCE, answers.next_line()).await;
        let up = match line {
            Ok(Ok(Some(line))) => serde_json::from_str::<Up>(&line).ok(),
            _ => None,
        };
        let up = up.ok_or_else(|| failed("did not come up".to_owned()))?;
        Ok(Self {
            role,
            address: up.address,
            child,
            orders: Some(orders),
            answers,
        })
    }

    /// What it has counted since it was last reset.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn read(&mut self) -> Result<Reading, ProcessError> {
        self.ask("read\n").await
    }

    /// Has it count from 0.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn reset(&mut self) -> Result<(), ProcessError> {
        self.ask("reset\n").await.map(|_: Reading| ())
    }

    /// How long its jobs took since it was last reset.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn timings(&mut self) -> Result<Timings, ProcessError> {
        self.ask("timings\n").await
    }

    async fn ask<T: DeserializeOwned>(&mut self, order: &str) -> Result<T, ProcessError> {
        let asking = async {
            self.orders
                .as_mut()?
                .write_all(order.as_bytes())
                .await
                .ok()?;
            let line = self.answers.next_line().await.ok()??;
            serde_json::from_str(&line).ok()
        };
        let answer = tokio::time::timeout(PATIENCE, asking).await;
        answer.ok().flatten().ok_or_else(|| ProcessError {
            role: self.role.as_str(),
            what: "has ended".to_owned(),
        })
    }

    pub(super) fn tree(&self) -> Option<Tree> {
        self.child.id().map(Tree::of)
    }

    /// Lets it drain, and waits.
    pub async fn stop(mut self) {
        drop(self.orders.take());
        if tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .is_err()
        {
            // `kill_on_drop` ends it.
            tracing::warn!(
                role = self.role.as_str(),
                "a process of the bench did not stop"
            );
        }
    }
}
