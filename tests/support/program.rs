use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::dir::TestDir;
use super::process::Tree;
use super::wait::until;

pub use super::port::free_port;

/// Settings that must come from the test, not from whoever runs it.
const SETTINGS: [&str; 8] = [
    "LONGSHORE_",
    "DATABASE_URL",
    "AMQP_URL",
    "SMTP_URL",
    "MAIL_",
    "STRIPE_",
    "OTEL_",
    "TEST_",
];

/// A program to be started.
#[derive(Debug)]
pub struct Launch {
    program: OsString,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    directory: Option<PathBuf>,
}

/// The real `longshore`, with these arguments.
pub fn longshore<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Launch {
    program(env!("CARGO_BIN_EXE_longshore"), arguments)
}

/// Another program.
pub fn program<A: AsRef<OsStr>>(
    program: impl Into<OsString>,
    arguments: impl IntoIterator<Item = A>,
) -> Launch {
    Launch {
        program: program.into(),
        arguments: arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned())
            .collect(),
        environment: BTreeMap::new(),
        directory: None,
    }
}

impl Launch {
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Its working folder; else a new, empty one.
    pub fn within(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Starts it. Its environment holds no setting but those given here.
    pub fn start(self) -> Program {
        let dir = TestDir::new("program");
        let create = |name: &str| fs::File::create(dir.join(name)).expect("output file");
        let work = self.directory.unwrap_or_else(|| dir.join("work"));
        fs::create_dir_all(&work).expect("working folder");
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(work)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| !is_setting(name)))
            .envs(&self.environment)
            .stdout(create("stdout"))
            .stderr(create("stderr"));
        Program {
            tree: Tree::spawn(&mut command),
            what: format!("{:?} {:?}", self.program, self.arguments),
            dir,
        }
    }
}

fn is_setting(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    SETTINGS.iter().any(|setting| name.starts_with(setting))
}

/// A started program. Dropping it kills it and everything it started.
#[derive(Debug)]
pub struct Program {
    tree: Tree,
    what: String,
    dir: TestDir,
}

impl Program {
    pub fn pid(&self) -> u32 {
        self.tree.pid()
    }

    pub fn is_running(&mut self) -> bool {
        self.tree.is_running()
    }

    /// SIGKILL to it and whatever it started.
    pub fn kill9(&mut self) {
        self.tree.kill();
    }

    /// SIGTERM: it should finish its work and end.
    pub fn term(&mut self) {
        self.tree.signal(Signal::SIGTERM);
    }

    /// SIGSTOP to it and whatever it started.
    pub fn freeze(&mut self) {
        self.tree.signal_all(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        self.tree.signal_all(Signal::SIGCONT);
    }

    /// How it ended; panics, with its output, when it does not within this time.
    pub async fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        until(&format!("{} ends", self.what), within, async || {
            self.tree.status()
        })
        .await
    }

    /// The first line, of either output, that holds this text. Panics, with the output, when
    /// the program ends without it or the time is over.
    pub async fn wait_for_line(&mut self, text: &str, within: Duration) -> String {
        let what = format!("{} writes {text:?}", self.what);
        let waiting = async || {
            // Asked first: what it wrote before it ended is there to be read afterwards.
            let ended = self.tree.status();
            let output = self.output_so_far();
            let line = output.lines().find(|line| line.contains(text));
            match (line, ended) {
                (Some(line), _) => Some(Ok(line.to_owned())),
                (None, Some(status)) => Some(Err(format!("{status}, output:\n{output}"))),
                (None, None) => None,
            }
        };
        match until(&what, within, waiting).await {
            Ok(line) => line,
            Err(end) => panic!("not seen: {what}: {end}"),
        }
    }

    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// Standard output, then standard error.
    pub fn output_so_far(&self) -> String {
        self.stdout() + &self.stderr()
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.dir.join(name)).expect("output file");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "---- {}, last lines ----\n{}",
                self.what,
                tail(&self.output_so_far())
            );
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
