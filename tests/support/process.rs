use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::{wait, watchdog};

const GONE_WITHIN: Duration = Duration::from_secs(30);

/// A process and everything it started. Dropping it kills all of them.
#[derive(Debug)]
pub struct Tree {
    child: Child,
    status: Option<ExitStatus>,
}

impl Tree {
    /// Starts it in a process group of its own, with nothing to read.
    pub fn spawn(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        watchdog::watch(child.id());
        Self {
            child,
            status: None,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn leader(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"))
    }

    /// How it ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("waitpid");
            if self.status.is_some() {
                watchdog::forget(self.child.id());
            }
        }
        self.status
    }

    pub fn is_running(&mut self) -> bool {
        self.status().is_none()
    }

    /// Waits for its end; panics if it does not come.
    pub async fn wait(&mut self, within: Duration) -> ExitStatus {
        wait::until("the process ends", within, async || self.status()).await
    }

    /// To the first process only.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            kill(self.leader(), signal).expect("signal");
        }
    }

    /// To all of them. The first one comes first: stopped, it starts no more.
    pub fn signal_all(&mut self, signal: Signal) {
        self.signal(signal);
        for pid in self.descendants() {
            // It may have ended meanwhile.
            let _ = kill(pid, signal);
        }
    }

    /// SIGKILL to all of them at once; returns when they are gone.
    pub fn kill(&mut self) {
        if !self.is_running() {
            return;
        }
        // Stopped first, so that nothing is started between looking and killing. What has left
        // the group (every PostgreSQL backend does) is found by its parent.
        self.signal(Signal::SIGSTOP);
        let rest = self.descendants();
        let _ = killpg(self.leader(), Signal::SIGKILL);
        for pid in &rest {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        let gone = wait::blocking(GONE_WITHIN, || {
            self.status().is_some() && !rest.iter().any(|pid| alive(*pid))
        });
        assert!(gone || std::thread::panicking(), "SIGKILL left something");
    }

    /// Children, their children, and so on.
    fn descendants(&self) -> Vec<Pid> {
        let parents = parents();
        let mut found = vec![self.leader()];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            found.extend(
                parents
                    .iter()
                    .filter(|(_, of)| **of == parent)
                    .map(|(pid, _)| *pid),
            );
            next += 1;
        }
        found.split_off(1)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.kill();
    }
}

/// True when SIGKILL ended it.
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::SIGKILL as i32)
}

/// False for what was killed and waits for its parent to notice, too.
fn alive(pid: Pid) -> bool {
    stat(&pid.to_string()).is_some_and(|(state, _)| state != "Z" && state != "X")
}

/// Every process's parent.
fn parents() -> BTreeMap<Pid, Pid> {
    fs::read_dir("/proc")
        .expect("these tests need Linux's /proc; elsewhere tests/run uses a container")
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let pid = name.parse().ok().map(Pid::from_raw)?;
            Some((pid, stat(&name)?.1))
        })
        .collect()
}

/// State and parent, from `/proc/<pid>/stat`; the name in front may hold anything but ends at
/// the last parenthesis.
fn stat(pid: &str) -> Option<(String, Pid)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.to_owned();
    let parent = fields.next()?.parse().ok()?;
    Some((state, Pid::from_raw(parent)))
}
