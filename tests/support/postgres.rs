use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use super::dir::TestDir;
use super::places;
use super::port::free_port;
use super::process::Tree;
use super::wait::{PATIENCE, until};

/// A PostgreSQL server of the test's own, with the superuser `longshore` and no password. It
/// listens on loopback and keeps its port and its data from one start to the next.
///
/// It runs with `fsync` off: a killed process loses nothing that it gave to the kernel, and
/// tests do not cut the power.
#[derive(Debug)]
pub struct Postgres {
    // Dropped before its folder.
    server: Option<Tree>,
    port: u16,
    dir: TestDir,
}

impl Postgres {
    /// Starts one; returns when it answers a query.
    pub async fn start() -> Self {
        let mut postgres = Self {
            server: None,
            port: free_port(),
            dir: TestDir::new("postgres"),
        };
        postgres.boot().await;
        postgres
    }

    /// A standby of it, which follows it and answers reads.
    pub async fn standby(&self) -> Self {
        let mut standby = Self {
            server: None,
            port: free_port(),
            dir: TestDir::new("standby"),
        };
        standby.make_data();
        let from = format!("host=127.0.0.1 port={} user=longshore", self.port);
        let output = standby
            .command("pg_basebackup")
            .args(["--checkpoint=fast", "--write-recovery-conf", "-d", &from])
            .arg("-D")
            .arg(standby.data())
            .output()
            .expect("pg_basebackup starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_basebackup: {said}");
        standby.boot().await;
        standby
    }

    /// The URL of a database; `postgres` is always there.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://longshore@127.0.0.1:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Creates an empty database: its URL.
    pub async fn create_database(&self, name: &str) -> String {
        self.psql(&format!("CREATE DATABASE \"{name}\"")).await;
        self.url(name)
    }

    /// Runs SQL in the database `postgres`: its rows, unaligned. Panics when it fails.
    pub async fn psql(&self, sql: &str) -> String {
        self.psql_in("postgres", sql).await
    }

    /// Runs SQL in a database: its rows, unaligned. Panics when it fails.
    pub async fn psql_in(&self, database: &str, sql: &str) -> String {
        self.query(database, sql)
            .await
            .unwrap_or_else(|error| panic!("psql: {error}\nin: {sql}"))
    }

    /// As [`Postgres::psql`], as soon as the server lets anybody in: it may be recovering. Asked
    /// again while there is no answer.
    pub async fn psql_when_up(&self, sql: &str) -> String {
        until("PostgreSQL answers", PATIENCE, async || {
            let rows = self.query("postgres", sql).await.ok()?;
            (!rows.is_empty()).then_some(rows)
        })
        .await
    }

    /// SIGKILL to the postmaster and every backend. Returns when nothing of it is left.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// A fast shutdown: transactions are rolled back, clients disconnected.
    pub async fn stop(&mut self) {
        self.end(Signal::SIGINT).await;
    }

    /// Stops it if it runs, and starts it on the same port and data.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.boot().await;
    }

    /// Ends it without a checkpoint, as a failing machine would, and lets it recover.
    pub async fn restart_immediately(&mut self) {
        self.end(Signal::SIGQUIT).await;
        self.boot().await;
    }

    /// Removes everything; the next start is that of a new, empty server. Only while it is down.
    pub fn wipe(&self) {
        assert!(self.server.is_none(), "stop or kill it first");
        fs::remove_dir_all(self.data()).expect("wipe");
    }

    /// SIGSTOP to the postmaster and every backend: connections stay open, nothing answers.
    pub fn freeze(&mut self) {
        self.running().signal_all(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        self.running().signal_all(Signal::SIGCONT);
    }

    /// True when it answers a query within two seconds.
    pub async fn answers(&self) -> bool {
        self.query("postgres", "SELECT 1").await.is_ok()
    }

    fn running(&mut self) -> &mut Tree {
        self.server.as_mut().expect("it is down")
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    async fn end(&mut self, signal: Signal) {
        if let Some(mut server) = self.server.take() {
            server.signal(signal);
            server.wait(PATIENCE).await;
        }
    }

    async fn boot(&mut self) {
        self.initialise();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("server.log"))
            .expect("log");
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        for setting in [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".into(),
            "unix_socket_directories=".into(),
            "max_connections=300".into(),
            "fsync=off".into(),
            "log_line_prefix=%m [%p] %a ".into(),
        ] {
            command.arg("-c").arg(setting);
        }
        command.stdout(log.try_clone().expect("log")).stderr(log);
        self.server = Some(Tree::spawn(&mut command));
        until("PostgreSQL answers", PATIENCE, async || {
            assert!(
                self.running().is_running(),
                "PostgreSQL ended: {}",
                fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
            );
            self.answers().await.then_some(())
        })
        .await;
    }

    fn initialise(&self) {
        if self.data().exists() {
            return;
        }
        self.make_data();
        let output = self
            .command("initdb")
            .args(["--username=longshore", "--auth=trust", "--encoding=UTF8"])
            .args(["--no-locale", "--no-sync", "-D"])
            .arg(self.data())
            .output()
            .expect("initdb starts");
        assert!(
            output.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn make_data(&self) {
        fs::create_dir(self.data()).expect("data folder");
        if let Some((uid, gid)) = other_user() {
            chown(self.data(), Some(uid), Some(gid)).expect("chown");
        }
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(self.data(), private).expect("chmod");
    }

    /// A server program in the folder, as the user that may run it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(places::postgres_bin().join(program));
        command.current_dir(self.dir.path()).env("LC_ALL", "C");
        if let Some((uid, gid)) = other_user() {
            command.uid(uid).gid(gid);
        }
        command
    }

    async fn query(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = tokio::process::Command::new(places::postgres_bin().join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(self.url(database))
            .env("PGCONNECT_TIMEOUT", "2")
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, output)
            .await
            .map_err(|_| "no answer".to_owned())?
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

/// PostgreSQL refuses to run as root: then as `postgres`, or else `nobody`.
fn other_user() -> Option<(u32, u32)> {
    let me = fs::metadata("/proc/self").expect("/proc").uid();
    if me != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let found = ["postgres", "nobody"].iter().find_map(|wanted| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == *wanted).then_some(())?;
            Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
        })
    });
    Some(found.expect("root needs a user `postgres` or `nobody` to run PostgreSQL as"))
}
