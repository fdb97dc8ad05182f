//! The record of faults: what each of them cost, counted from outside. `docs/faults.md` is made
//! of it, and says what each column counts.
//!
//! A fault test begins a record with what its fault is in plain words, says when the fault is
//! over, and hands in what it counted; a loss, an effect that came twice or an attempt that was
//! burned fails it there.
//!
//! ```ignore
//! let mut fault = fault!("The broker is killed and starts again on its data");
//! // … load, and the fault itself …
//! fault.cuts_off(&worker);   // whose runs the test cuts off: killed, frozen, out of time
//! fault.over();              // the killed is dead, the stopped answers again, the cut carries
//! // … something that starts after it, and rest …
//! site.hand_in(fault, &ids).await;   // tests/faults/count.rs: the marks file and `verify`
//! ```
//!
//! Where there is no `Site`, the test counts at its own mail server, gateway or stock, and hands
//! in [`Figures`] with [`Fault::hand_in`]. Recovery is taken from [`Fault::over`] until the first
//! job starts, or until the test says [`Fault::recovered`]; of a killed or frozen worker, until
//! the last of its own jobs runs elsewhere ([`Fault::over_for`]). Where the work goes on all the
//! time, the test leaves that out.
//!
//! Then give the table its row (and whenever what a test does has changed):
//!
//! ```sh
//! tests/run --faults-table 1 NAME_OF_THE_TEST
//! ```
//!
//! `tests/architecture` fails while a test has no row or a row no test.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, SystemTime};

use super::program::Program;

/// Names the file that takes a line for each record; set by `tests/run --faults-table`.
const RECORDS: &str = "LONGSHORE_TEST_FAULT_RECORDS";

/// What one run of a fault cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Jobs that were accepted: each answered 202, or adopted.
    pub accepted: usize,
    /// Of those, the ones whose effect cannot be found outside, or that `verify` misses.
    pub lost: usize,
    /// Effects that came again although nobody cut their first run off.
    pub twice: usize,
    /// Effects that came again after a run that was cut off before its end was on record: nobody
    /// could know whether there had been one.
    pub unknown: usize,
    /// Attempts counted as failed because of the fault.
    pub burned: usize,
}

/// A fault, from its beginning until its figures are handed in.
#[derive(Debug)]
pub struct Fault {
    test: String,
    words: &'static str,
    /// Milliseconds since 1970, as the marks have it.
    over: Option<u64>,
    recovered: Option<Duration>,
    /// All of these must start again; if there are none, anybody.
    stopped: Vec<String>,
    cut_off: Vec<u32>,
    handed_in: bool,
}

/// Begins the record of the test that says it. In the test itself, with a literal: the words are
/// compared with the table.
macro_rules! fault {
    ($words:literal) => {{
        fn here() {}
        $crate::support::record::Fault::new(std::any::type_name_of_val(&here), $words)
    }};
}
pub(crate) use fault;

impl Fault {
    /// `here` is the path of an item within the test; see [`fault!`].
    pub fn new(here: &str, words: &'static str) -> Self {
        let test = here.trim_end_matches("::here").replace("::{{closure}}", "");
        Self {
            test,
            words,
            over: None,
            recovered: None,
            stopped: Vec::new(),
            cut_off: Vec::new(),
            handed_in: false,
        }
    }

    /// The test cuts off what runs in this process: what starts again after it has not been run
    /// twice, and what comes again had an unknown outcome.
    pub fn cuts_off(&mut self, process: &Program) {
        self.cut_off.push(process.pid());
    }

    /// The same for processes that the test knows by their ids.
    pub fn cuts_off_all(&mut self, pids: impl IntoIterator<Item = u32>) {
        self.cut_off.extend(pids);
    }

    /// Nothing stands in the way any more; of several times the last one counts.
    pub fn over(&mut self) {
        self.over = Some(now());
        self.recovered = None;
    }

    /// The process that held these is dead or frozen: they are to run elsewhere.
    pub fn over_for(&mut self, jobs: &[String]) {
        self.over();
        self.stopped = jobs.to_vec();
    }

    /// What the fault had stopped goes on, where that is no start of a job.
    pub fn recovered(&mut self) {
        let ended = self.over.expect("the test says when its fault is over");
        self.recovered = Some(Duration::from_millis(now() - ended));
    }

    /// Each start of a job: which, where, and when in milliseconds since 1970. Tells the recovery,
    /// unless the test has told it.
    pub fn started<'a>(&mut self, starts: impl Iterator<Item = (&'a str, u32, u64)>) {
        let (None, Some(ended)) = (self.recovered, self.over) else {
            return;
        };
        let mut after = BTreeMap::new();
        for (job, pid, at) in starts {
            // What was stopped may run again elsewhere before the fault was seen to be over.
            let stopped = self.stopped.iter().any(|stopped| stopped == job);
            if (at >= ended || stopped) && !self.was_cut_off(pid) {
                after.entry(job).or_insert(at.max(ended));
            }
        }
        let at = if self.stopped.is_empty() {
            // If none starts any more, all had begun by the time that the fault was seen to be
            // over; that they came to their ends is counted apart.
            Some(after.values().min().copied().unwrap_or(ended))
        } else {
            let again = self
                .stopped
                .iter()
                .map(|job| after.get(job.as_str()).copied());
            again
                .collect::<Option<Vec<u64>>>()
                .and_then(|again| again.into_iter().max())
        };
        self.recovered = at.map(|at| Duration::from_millis(at - ended));
    }

    pub fn was_cut_off(&self, pid: u32) -> bool {
        self.cut_off.contains(&pid)
    }

    /// Fails unless nothing was lost, run twice or burned; then it is on record.
    pub fn hand_in(mut self, figures: Figures) {
        self.handed_in = true;
        let recovery = self.recovered;
        assert!(self.over.is_none() || recovery.is_some(), "nothing went on");
        eprintln!("{}: {figures:?}, recovered in {recovery:?}", self.words);
        let cost = (figures.lost, figures.twice, figures.burned);
        assert_eq!(cost, (0, 0, 0), "{}: {figures:?}", self.words);
        assert!(figures.accepted > 0, "nothing was at stake");
        let Some(records) = std::env::var_os(RECORDS) else {
            return;
        };
        let record = serde_json::json!({
            "test": self.test, "fault": self.words, "accepted": figures.accepted,
            "lost": figures.lost, "twice": figures.twice, "unknown": figures.unknown,
            "burned": figures.burned, "recovery_ms": recovery.map(|took| took.as_millis() as u64),
        });
        // One write of one line: whole, whichever test writes at the same time.
        let mut file = OpenOptions::new().create(true).append(true).open(records);
        let file = file.as_mut().expect("the file of the records");
        file.write_all(format!("{record}\n").as_bytes())
            .expect("the record is written");
    }
}

fn now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    u64::try_from(since.as_millis()).expect("before the year 584 million")
}

impl Drop for Fault {
    fn drop(&mut self) {
        if !self.handed_in && !std::thread::panicking() {
            panic!("the figures of {} were not handed in", self.test);
        }
    }
}
