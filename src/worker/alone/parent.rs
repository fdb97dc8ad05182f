use std::convert::Infallible;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};

use super::frame::{frame, raw, receive, send};
use super::{Assignment, Stop, Told};
use crate::config::SettingsArgs;
use crate::job::{Failure, Kind, Outcome, RunProgress};
use crate::worker::Attempt;

/// How long a child may take to end once it has told of its handler's end, or has closed its
/// socket. Then it is killed.
const PARTING: Duration = Duration::from_secs(2);

/// How a job is run in a process of its own.
#[derive(Debug, Clone)]
pub struct Isolation {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, String)>,
}

/// What was heard of a child.
enum Heard {
    /// It told how its handler ended.
    End(Outcome),
    /// It is gone without a word about that.
    Gone { begun: bool },
}

impl Isolation {
    /// By this same program with these arguments. It gets the environment of this process, and
    /// the settings that were given as flags in theirs.
    ///
    /// # Errors
    /// When it cannot be told which program this is.
    pub fn by_this_program(
        arguments: impl IntoIterator<Item = OsString>,
        settings: &SettingsArgs,
    ) -> std::io::Result<Self> {
        // The file may be replaced while this process runs: on Linux this names the program that
        // runs, not its path.
        let program = match cfg!(target_os = "linux") {
            true => PathBuf::from("/proc/self/exe"),
            false => std::env::current_exe()?,
        };
        Ok(Self {
            program,
            arguments: arguments.into_iter().collect(),
            environment: settings.environment(),
        })
    }

    /// Runs a job that has taken down its process so many times. Dropped, it kills the child.
    pub(in crate::worker) async fn run(
        self,
        kind: Kind,
        crashes: u32,
        payload: Bytes,
        attempt: Attempt,
    ) -> Outcome {
        let (mut child, heard) = match self.converse(kind, &payload, &attempt).await {
            Ok(met) => met,
            Err(error) => return not_isolated(&format!("cannot start it: {error}")),
        };
        // It has said what it had to say, or nothing is left to hear: what it still does is of no
        // use. `kill_on_drop` deals with one that does not end by itself.
        let ended = tokio::time::timeout(PARTING, child.wait()).await;
        let status = match ended {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => format!("no status: {error}"),
            Err(_) => "it closed its socket and went on".to_owned(),
        };
        match heard {
            Heard::End(outcome) => outcome,
            Heard::Gone { begun: true } => crashed(crashes, &status),
            Heard::Gone { begun: false } => {
                not_isolated(&format!("it ended before the handler began: {status}"))
            }
        }
    }

    async fn converse(
        self,
        kind: Kind,
        payload: &[u8],
        attempt: &Attempt,
    ) -> std::io::Result<(Child, Heard)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (mut reader, mut writer) = UnixStream::from_std(ours)?.into_split();
        // The command, and with it our copy of the child's end, is dropped here: the socket must
        // end with the child.
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .kill_on_drop(true)
            .spawn()?;
        tracing::info!(
            job.id = %attempt.job_id,
            job.kind = %kind,
            child.pid = child.id(),
            "running a job alone: it has taken its process down before"
        );
        let assignment = [frame(&assignment(kind, attempt))?, raw(payload)?].concat();
        let telling = tell(&mut writer, &assignment, attempt);
        let heard = tokio::select! {
            heard = hear(&mut reader, attempt) => heard,
            never = telling => match never {},
        };
        Ok((child, heard))
    }
}

fn assignment(kind: Kind, attempt: &Attempt) -> Assignment {
    let fence = attempt.ending.fence;
    let now = tokio::time::Instant::now();
    Assignment {
        job: attempt.job_id,
        kind,
        dispatch: attempt.dispatch,
        owner: fence.owner,
        epoch: fence.epoch,
        number: attempt.number,
        max_attempts: attempt.max_attempts,
        earlier_failures: attempt.earlier_failures,
        created_at: attempt.created_at,
        left: attempt.deadline.saturating_duration_since(now),
    }
}

/// What cannot be told to a child that is gone is heard as its end.
async fn tell(writer: &mut OwnedWriteHalf, assignment: &[u8], attempt: &Attempt) -> Infallible {
    let telling = async {
        send(writer, assignment).await?;
        attempt.cancelled.cancelled().await;
        send(writer, &frame(&Stop)?).await
    };
    let _: std::io::Result<()> = telling.await;
    std::future::pending().await
}

async fn hear(reader: &mut OwnedReadHalf, attempt: &Attempt) -> Heard {
    let mut begun = false;
    loop {
        match receive(reader).await {
            Ok(Told::Begins) => begun = true,
            Ok(Told::Progress { fraction, message }) => {
                let progress = RunProgress::new(fraction, &message);
                attempt.board.post(attempt.ending.fence, progress);
            }
            Ok(Told::Ended { end, commit }) => {
                attempt.ending.commit.set(commit);
                return Heard::End(end.into());
            }
            // Its end, or nonsense: a handler that writes where it should not.
            Err(_) => return Heard::Gone { begun },
        }
    }
}

/// Nothing of the job's: it waits, and nothing is counted.
fn not_isolated(why: &str) -> Outcome {
    let message = format!("it must run alone, and its process did not come up: {why}");
    Outcome::Failure(Failure::unavailable("isolation_failed", message).inside())
}

fn crashed(before: u32, status: &str) -> Outcome {
    let times = before.saturating_add(1);
    let message = format!("it took its process down {times} times, the last time alone: {status}");
    Outcome::Failure(Failure::permanent("crashed", message))
}
