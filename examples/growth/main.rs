//! What a job costs, by how much there is already: finished, dead, scheduled and queued jobs, an
//! idle transaction elsewhere, workers and queues.
//!
//! `cargo run --release --example growth -- DATABASE_URL AMQP_URL OUT_DIR` fills the database and
//! the broker, which must be empty scratch servers that nobody else uses meanwhile (the role a superuser),
//! and writes to OUT_DIR, after every row: `growth.md`, the table; `growth.svg`, the plot;
//! `growth.jsonl`, all that was measured. `--help` tells the sizes, which can be smaller. What it
//! filled in is left there.
//!
//! Two kinds of figures stand side by side. **Counted**: bytes and records of write-ahead log and
//! blocks touched, of 20,000 jobs that go through the store alone; they are the same however busy the machine
//! is. **Timed**: by `longshore bench`, the real program, run as a process of its own.
#![allow(clippy::print_stderr, reason = "a program that tells how far it is")]

mod backlog;
mod chart;
mod count;
mod fill;
mod output;
mod timed;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use count::Counter;
use fill::Fill;
use output::{Output, Row};
use timed::Program;

/// Measures what a job costs by how much there is already.
#[derive(Debug, Parser)]
struct Args {
    /// An empty database of a scratch server, as a superuser
    database_url: String,
    /// A scratch broker
    amqp_url: String,
    /// Where the table, the plot and the figures go
    out_dir: PathBuf,
    /// The program that is measured [default: longshore beside this one's folder]
    #[arg(long)]
    program: Option<PathBuf>,
    /// Finished jobs, in ascending order
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000, 10_000_000])]
    finished: Vec<u64>,
    /// Dead jobs, added to the finished
    #[arg(long, default_value_t = 100_000)]
    dead: u64,
    /// Scheduled jobs, added to them
    #[arg(long, default_value_t = 1_000_000)]
    scheduled: u64,
    /// Queued jobs, added to them; published, too
    #[arg(long, default_value_t = 1_000_000)]
    queued: u64,
    /// Jobs that come and go beside an idle transaction: those of an hour at 1,000 a second
    #[arg(long, default_value_t = 3_600_000)]
    pinned: u64,
    /// Of those, how many are accepted together: what single submissions at that rate become
    #[arg(long, default_value_t = 20)]
    pinned_batch: u64,
    /// Numbers of worker processes
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8])]
    workers: Vec<u64>,
    /// Numbers of queues
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 50])]
    queues: Vec<u64>,
    /// Jobs of each part of a bench
    #[arg(long, default_value_t = 50_000)]
    jobs: u64,
    /// Runs of a bench, of which the medians are taken
    #[arg(long, default_value_t = 3)]
    runs: u64,
}

struct Growth {
    args: Args,
    connection: PgConnection,
    program: Program,
    output: Output,
    began: Instant,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let program = Program::new(&args)?;
    let mut connection = PgConnection::connect(&args.database_url).await?;
    let there: bool = sqlx::query_scalar("SELECT to_regnamespace('longshore') IS NOT NULL")
        .fetch_one(&mut connection)
        .await?;
    ensure!(!there, "the database is not empty");
    program.migrate().await?;
    // Of this connection alone, which fills.
    let fast =
        "SET synchronous_commit = off; SET work_mem = '256MB'; SET maintenance_work_mem = '512MB'";
    run(&mut connection, fast).await?;
    let growth = Growth {
        output: Output::new(&args.out_dir)?,
        args,
        connection,
        program,
        began: Instant::now(),
    };
    growth.measure().await
}

impl Growth {
    async fn measure(mut self) -> anyhow::Result<()> {
        let mut sizes = std::mem::take(&mut self.args.finished).into_iter();
        let first = sizes.next().context("--finished: no number")?;
        let mut finished = 0;
        self.fill(Fill::Finished, &mut finished, first).await?;
        self.row(&format!("{} finished", words(first)), 1, 1, 0)
            .await?;
        self.processes_and_queues().await?;
        for size in sizes {
            self.fill(Fill::Finished, &mut finished, size).await?;
            self.row(&format!("{} finished", words(size)), 1, 1, 0)
                .await?;
        }
        let (dead, scheduled) = (self.args.dead, self.args.scheduled);
        self.fill(Fill::Dead, &mut 0, dead).await?;
        self.row(&format!("… and {} dead", words(dead)), 1, 1, 0)
            .await?;
        self.fill(Fill::Scheduled, &mut 0, scheduled).await?;
        self.row(&format!("… and {} scheduled", words(scheduled)), 1, 1, 0)
            .await?;
        self.queue_up().await?;
        let queued = words(self.args.queued);
        self.row(&format!("… and {queued} queued"), 1, 1, 0).await?;
        self.pin().await?;
        self.tell("done");
        Ok(())
    }

    /// With as little in the database as in the first row, which is that of one of each.
    async fn processes_and_queues(&mut self) -> anyhow::Result<()> {
        for workers in self.args.workers.clone() {
            if workers > 1 {
                self.row(&format!("{workers} worker processes"), workers, 1, 0)
                    .await?;
            }
        }
        for queues in self.args.queues.clone() {
            if queues > 1 {
                self.row(&format!("{queues} queues"), 1, queues, 0).await?;
            }
        }
        Ok(())
    }

    /// A backlog as there would really be one: accepted by an intake, and on the broker.
    async fn queue_up(&mut self) -> anyhow::Result<()> {
        self.tell(&format!("accepting a backlog of {}", self.args.queued));
        let paces =
            backlog::queue_up(&self.program, &mut self.connection, self.args.queued).await?;
        self.output.paces(&paces)?;
        self.settle().await
    }

    /// A transaction that does nothing keeps every row that dies from being removed.
    async fn pin(&mut self) -> anyhow::Result<()> {
        let pinned = self.args.pinned;
        if pinned == 0 {
            return Ok(());
        }
        let mut idle = PgConnection::connect(&self.args.database_url).await?;
        run(
            &mut idle,
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM longshore.live LIMIT 1",
        )
        .await?;
        let name = format!("… and a transaction idle for {} jobs", words(pinned));
        self.row(&name, 1, 1, pinned).await?;
        run(&mut idle, "ROLLBACK").await
    }

    async fn fill(&mut self, what: Fill, from: &mut u64, to: u64) -> anyhow::Result<()> {
        self.tell(&format!("filling in {} {what}", to - *from));
        what.into(&mut self.connection, *from, to).await?;
        *from = to;
        self.settle().await
    }

    /// As a database is that has had time for it.
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.tell("VACUUM ANALYZE, CHECKPOINT");
        run(&mut self.connection, "VACUUM ANALYZE").await?;
        run(&mut self.connection, "CHECKPOINT").await
    }

    async fn row(
        &mut self,
        name: &str,
        workers: u64,
        queues: u64,
        load: u64,
    ) -> anyhow::Result<()> {
        self.tell(&format!("counting: {name}"));
        let counter = Counter::open(&self.args.database_url, queues).await?;
        let loaded = counter.load(load, self.args.pinned_batch).await?;
        let counts = counter.count(&mut self.connection).await?;
        counter.close(load == 0).await?;
        self.tell(&format!("timing: {name}"));
        let bench = self.program.bench(workers, queues).await?;
        let row = Row {
            name: name.to_owned(),
            counts,
            loaded,
            bench,
        };
        self.output.row(row)
    }

    fn tell(&self, what: &str) {
        eprintln!("{:6.0} s  {what}", self.began.elapsed().as_secs_f64());
    }
}

/// Runs statements without parameters.
async fn run(connection: &mut PgConnection, statements: &str) -> anyhow::Result<()> {
    let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
    statements.execute(connection).await?;
    Ok(())
}

/// Waits until it is so.
async fn until(mut so: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    while !so().await? {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// `10 thousand`, `3.6 million`.
fn words(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{} thousand", number as f64 / 1e3),
        _ => format!("{} million", number as f64 / 1e6),
    }
}
