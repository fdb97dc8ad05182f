//! What the probe's jobs left in the marks file: the outside world of a fault test.

use std::collections::BTreeMap;
use std::path::Path;

use crate::site::Site;

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub is_start: bool,
    pub job: String,
    pub pid: u32,
    /// Milliseconds since 1970, by this machine's clock.
    pub at: u64,
}

/// What became of one job.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Marks {
    pub starts: usize,
    pub ends: usize,
    /// Who ended it.
    pub pids: Vec<u32>,
}

/// All of a file, in order.
pub fn read_marks(file: &Path) -> Vec<Mark> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mark = |line: &str| {
        let parts: Vec<&str> = line.split(' ').collect();
        let [what, job, _, pid, at] = parts[..] else {
            panic!("a torn mark: {line:?}")
        };
        Mark {
            is_start: what == "start",
            job: job.to_owned(),
            pid: pid.parse().unwrap(),
            at: at.parse().unwrap(),
        }
    };
    text.lines().map(mark).collect()
}

impl Site {
    /// All of it, in order.
    pub fn history(&self) -> Vec<Mark> {
        read_marks(&self.marks_file())
    }

    /// What ran, by job.
    pub fn marks(&self) -> BTreeMap<String, Marks> {
        let mut marks: BTreeMap<String, Marks> = BTreeMap::new();
        for mark in self.history() {
            let job = marks.entry(mark.job).or_default();
            if mark.is_start {
                job.starts += 1;
            } else {
                job.ends += 1;
                job.pids.push(mark.pid);
            }
        }
        marks
    }

    /// Every start of a handler, in order.
    pub fn starts(&self) -> Vec<String> {
        let starts = self.history().into_iter().filter(|mark| mark.is_start);
        starts.map(|mark| mark.job).collect()
    }

    /// The process of every start of a handler, in order.
    pub fn start_pids(&self) -> Vec<u32> {
        let starts = self.history().into_iter().filter(|mark| mark.is_start);
        starts.map(|mark| mark.pid).collect()
    }
}
