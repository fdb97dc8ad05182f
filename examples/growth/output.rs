use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use longshore::bench::Report;
use serde::Serialize;

use crate::backlog::Pace;
use crate::chart::{Line, svg};
use crate::count::Counts;

/// What was measured with one thing in the database.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// What the store does for a job.
    pub(crate) counts: Counts,
    /// How long the load beside an idle transaction took, in seconds.
    pub(crate) loaded: Option<f64>,
    /// What the program takes and does.
    pub(crate) bench: Report,
}

#[derive(Serialize)]
struct Accepted<'a> {
    name: &'static str,
    paces: &'a [Pace],
}

/// Where the figures go, complete after every row.
pub(crate) struct Output {
    folder: PathBuf,
    rows: Vec<Row>,
    paces: Vec<Pace>,
}

impl Output {
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let output = Self {
            folder: folder.to_owned(),
            rows: Vec::new(),
            paces: Vec::new(),
        };
        output.write("growth.jsonl", "")?;
        Ok(output)
    }

    pub(crate) fn row(&mut self, row: Row) -> anyhow::Result<()> {
        self.append(&row)?;
        self.rows.push(row);
        self.write("growth.md", &self.table())?;
        self.write("growth.svg", &self.plot())
    }

    pub(crate) fn paces(&mut self, paces: &[Pace]) -> anyhow::Result<()> {
        self.paces = paces.to_vec();
        self.append(&Accepted {
            name: "backlog",
            paces,
        })
    }

    fn append(&self, figures: &impl Serialize) -> anyhow::Result<()> {
        let path = self.folder.join("growth.jsonl");
        let mut file = OpenOptions::new().append(true).open(path)?;
        writeln!(file, "{}", serde_json::to_string(figures)?)?;
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    fn table(&self) -> String {
        let mut text = String::from(
            "| with | log, bytes | log, records | blocks | CPU of store, µs | own CPU, µs | against the first row \
             | at once, jobs/s | one by one, jobs/s | accepted → start at 200/s, p50, p99, ms |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let (counts, cells) = (row.counts, Cells::of(&row.bench));
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.2} | {:.1} | {} | {} | {} | {} | {} | {} |",
                row.name,
                counts.bytes,
                counts.records,
                counts.blocks,
                cells.store,
                cells.own,
                self.ratios(row),
                cells.at_once,
                cells.singly,
                cells.start,
            );
        }
        if !self.paces.is_empty() {
            text.push_str("\n| waiting | accepted in batches of 500, jobs/s |\n|---|---|\n");
            for pace in &self.paces {
                let (queued, rate) = (crate::words(pace.queued), pace.per_second);
                let _ = writeln!(text, "| {queued} | {rate:.0} |");
            }
        }
        text
    }

    /// Of the log, the blocks and the processor time of store and program.
    fn figures(row: &Row) -> [Option<f64>; 3] {
        let cpu = row.bench.cpu;
        let spent = cpu.store.zip(cpu.own).map(|(store, own)| store + own);
        [Some(row.counts.bytes), Some(row.counts.blocks), spent]
    }

    fn against_first(&self, row: &Row) -> [Option<f64>; 3] {
        let first = self.rows.first().map(Self::figures).unwrap_or_default();
        let mut ratios = Self::figures(row);
        for (ratio, first) in ratios.iter_mut().zip(first) {
            *ratio = ratio.zip(first).map(|(value, first)| value / first);
        }
        ratios
    }

    fn ratios(&self, row: &Row) -> String {
        let ratios = self.against_first(row).map(|ratio| match ratio {
            Some(ratio) => format!("{ratio:.2}"),
            None => "–".to_owned(),
        });
        ratios.join(", ")
    }

    fn plot(&self) -> String {
        let lines: Vec<Line<'_>> = self
            .rows
            .iter()
            .map(|row| Line {
                name: &row.name,
                ratios: self.against_first(row),
            })
            .collect();
        svg(&lines)
    }
}

/// The figures of a bench, as they are shown.
struct Cells {
    store: String,
    own: String,
    at_once: String,
    singly: String,
    start: String,
}

impl Cells {
    fn of(bench: &Report) -> Self {
        let shown = |figure: Option<f64>| {
            figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.0}"))
        };
        let start = bench
            .started
            .map(|start| format!("{:.1}, {:.1}", start.p50, start.p99));
        Self {
            store: shown(bench.cpu.store),
            own: shown(bench.cpu.own),
            at_once: shown(bench.at_once.map(|rate| rate.per_second)),
            singly: shown(bench.enqueue_single.map(|rate| rate.per_second)),
            start: start.unwrap_or_else(|| "–".to_owned()),
        }
    }
}
