use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, ensure};
use longshore::bench::Report;
use tokio::process::{Child, Command};

use crate::Args;

/// The key of the intake that accepts the backlog.
pub(crate) const KEY: &str = "growth-growth-growth-growth-growth";

/// The program that is measured.
pub(crate) struct Program {
    path: PathBuf,
    environment: Vec<(&'static str, String)>,
    jobs: u64,
    runs: u64,
}

impl Program {
    pub(crate) fn new(args: &Args) -> anyhow::Result<Self> {
        let path = match &args.program {
            Some(path) => path.clone(),
            None => {
                let own = std::env::current_exe()?;
                let folder = own.ancestors().nth(2).context("no folder above")?;
                folder.join("longshore")
            }
        };
        ensure!(
            path.is_file(),
            "{}: no program; build it or name it by --program",
            path.display()
        );
        Ok(Self {
            path,
            environment: vec![
                ("DATABASE_URL", args.database_url.clone()),
                ("AMQP_URL", args.amqp_url.clone()),
                ("LONGSHORE_LOG", "error".to_owned()),
            ],
            jobs: args.jobs,
            runs: args.runs,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        let environment = self.environment.iter();
        command.envs(environment.map(|(name, value)| (name, value)));
        command.kill_on_drop(true);
        command
    }

    pub(crate) async fn migrate(&self) -> anyhow::Result<()> {
        let mut migrate = self.command();
        let migrated = migrate
            .arg("migrate")
            .stdout(Stdio::null())
            .status()
            .await?;
        ensure!(migrated.success(), "longshore migrate failed");
        Ok(())
    }

    /// Measures with so many worker processes and queues.
    pub(crate) async fn bench(&self, workers: u64, queues: u64) -> anyhow::Result<Report> {
        let mut bench = self.command();
        bench.args(["bench", "--json"]).args([
            format!("--jobs={}", self.jobs),
            format!("--runs={}", self.runs),
            format!("--workers={workers}"),
            format!("--queues={queues}"),
        ]);
        let ran = bench.stderr(Stdio::inherit()).output().await?;
        ensure!(ran.status.success(), "longshore bench failed");
        Ok(serde_json::from_slice(&ran.stdout)?)
    }

    /// An intake, and where it answers.
    pub(crate) fn intake(&self) -> anyhow::Result<(Child, String)> {
        // Free a moment ago, on a machine that nobody else uses.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut intake = self.command();
        intake
            .arg("intake")
            .env("LONGSHORE_ADMIN_KEY", KEY)
            .env("LONGSHORE_LISTEN", address.to_string())
            .stdout(Stdio::null());
        Ok((intake.spawn()?, format!("http://{address}")))
    }
}
