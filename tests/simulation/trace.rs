//! What happened, as lines to read and as one number to compare.

use crate::world::Micros;

#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) const fn new(verbose: bool) -> Self {
        let lines = if verbose { Some(Vec::new()) } else { None };
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            lines,
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }

    /// A call of a process.
    pub(crate) fn step(&mut self, now: Micros, host: usize, what: &str) {
        self.mix(now);
        self.mix(host as u64);
        for byte in what.bytes() {
            self.mix(u64::from(byte));
        }
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9.3} s  host {host}: {what}", now as f64 / 1e6));
        }
    }

    /// What a step came to, or what fate has done. The text is made only if it is wanted.
    pub(crate) fn note(&mut self, now: Micros, text: impl FnOnce() -> String) {
        self.mix(now ^ 0x5555);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9.3} s    {}", now as f64 / 1e6, text()));
        }
    }

    // FNV-1a over words.
    const fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }
}
