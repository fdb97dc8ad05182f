//! A program of one's own on the public API: two kinds of job in a queue, with a context made
//! from the environment, and the whole command line around them. The fault tests run it: its jobs
//! leave marks when they start and end, so that what really ran can be counted, and misbehave
//! in chosen ways.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use longshore::config::{SettingError, WorkerSettings};
use longshore::job::{Done, Failure, JobResult};
use longshore::worker::{Attempt, Job, NextJob};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The file that marks go to, one line each: `start|end ID ATTEMPT PID TIME`, the time in
/// milliseconds since 1970.
#[derive(Debug)]
struct Marks(PathBuf);

impl Marks {
    fn from_environment(_: &WorkerSettings) -> Result<Self, Vec<SettingError>> {
        match std::env::var_os("PROBE_MARKS") {
            Some(path) => Ok(Self(path.into())),
            None => Err(vec![SettingError::new(
                "PROBE_MARKS",
                "is not set",
                "name the file for the marks",
            )]),
        }
    }

    /// One write of one line to a file opened for appending: whole, whoever else writes.
    fn leave(&self, what: &str, attempt: &Attempt) -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0)?;
        let (id, number) = (attempt.job_id(), attempt.number());
        let (pid, at) = (std::process::id(), SystemTime::UNIX_EPOCH.elapsed());
        let at = at.unwrap_or_default().as_millis();
        let line = format!("{what} {id} {number} {pid} {at}\n");
        file.write_all(line.as_bytes())
    }
}

/// Takes its time between two marks.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sleep {
    ms: u64,
}

impl Job for Sleep {
    const KIND: &'static str = "probe.sleep";
    type Context = Marks;

    async fn run(self, marks: &Marks, attempt: &Attempt) -> JobResult {
        marks.leave("start", attempt)?;
        tokio::time::sleep(Duration::from_millis(self.ms)).await;
        marks.leave("end", attempt)?;
        Ok(Done)
    }
}

/// Says how far it is, step by step and many times a step.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Steps {
    steps: u32,
    ms: u64,
}

impl Job for Steps {
    const KIND: &'static str = "probe.steps";
    type Context = Marks;

    async fn run(self, marks: &Marks, attempt: &Attempt) -> JobResult {
        marks.leave("start", attempt)?;
        for step in 0..self.steps {
            for _ in 0..100 {
                let fraction = f64::from(step) / f64::from(self.steps);
                attempt.progress(fraction, format!("step {step} of {}", self.steps));
            }
            tokio::time::sleep(Duration::from_millis(self.ms)).await;
        }
        marks.leave("end", attempt)?;
        let left = attempt
            .deadline()
            .saturating_duration_since(tokio::time::Instant::now());
        Done::with(left.as_secs())
    }
}

/// How a job may fail.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Way {
    Retry,
    Permanent,
    Panic,
    Hang,
    Nul,
}

/// Fails in a chosen way, always.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fail {
    way: Way,
}

impl Job for Fail {
    const KIND: &'static str = "probe.fail";
    type Context = Marks;

    async fn run(self, marks: &Marks, attempt: &Attempt) -> JobResult {
        marks.leave("start", attempt)?;
        match self.way {
            Way::Retry => Err(Failure::retry("probe_retry", "failing on purpose")),
            Way::Permanent => Err(Failure::permanent("probe_permanent", "failing for ever")),
            Way::Nul => Err(Failure::permanent(
                "probe_nul",
                "a NUL: \0, and a \u{1b}[31mcolour",
            )),
            Way::Panic => std::panic::resume_unwind(Box::new("panicking on purpose")),
            Way::Hang => {
                std::future::pending::<()>().await;
                Ok(Done)
            }
        }
    }
}

/// How a job may harm its process.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Doom {
    Abort,
    Exit,
    EatMemory,
    BlockItsThread,
    /// Harmless in a process of its own.
    AbortUnlessAlone,
}

/// Takes its process down, or tries to.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Poison {
    doom: Doom,
}

impl Job for Poison {
    const KIND: &'static str = "probe.poison";
    type Context = Marks;

    async fn run(self, marks: &Marks, attempt: &Attempt) -> JobResult {
        marks.leave("start", attempt)?;
        match self.doom {
            Doom::Abort => std::process::abort(),
            Doom::Exit => std::process::exit(0),
            Doom::EatMemory => {
                let mut eaten = Vec::new();
                loop {
                    eaten.push(vec![0_u8; 64 << 20]);
                }
            }
            Doom::BlockItsThread => loop {
                std::thread::park();
            },
            Doom::AbortUnlessAlone => {
                if !std::env::args().any(|argument| argument == "run-alone") {
                    std::process::abort();
                }
                for step in 0..40 {
                    attempt.progress(f64::from(step) / 40.0, "alone");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                marks.leave("end", attempt)?;
                let mut tx = attempt.transaction().await?;
                tx.submit(NextJob::new(&Sleep { ms: 1 })?)?;
                tx.succeed("alone").await
            }
        }
    }
}

fn main() -> ExitCode {
    longshore::App::new()
        .job_with::<Sleep>("probe", Marks::from_environment)
        .job_with::<Fail>("probe", Marks::from_environment)
        .job_with::<Steps>("probe", Marks::from_environment)
        .job_with::<Poison>("probe", Marks::from_environment)
        .run()
}
