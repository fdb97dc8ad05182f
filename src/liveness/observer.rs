use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::job::ProcessId;
use crate::store::ProcessBeat;

/// How long a counter must stand still before its process may be declared dead.
pub const SILENCE: Duration = Duration::from_secs(10);
/// The longest gap between two reads that still counts as watching.
const MAX_GAP: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy)]
struct Seen {
    counter: i64,
    since: Instant,
}

/// Watches beat counters on one monotonic clock.
///
/// **Invariant:** a suspect's counter was read unchanged over [`SILENCE`] without a failed read,
/// a read later than 2 s after the one before, or a failed beat of our own in between. So an
/// observer that was frozen, or cut off from the store, suspects nobody when it wakes.
#[derive(Debug, Default)]
pub struct Observer {
    seen: HashMap<ProcessId, Seen>,
    last_read: Option<Instant>,
}

impl Observer {
    /// Takes in a successful read that began at `now`; returns who has been silent too long,
    /// with the counter they stopped at. `me` is never suspected.
    pub fn read(&mut self, now: Instant, me: ProcessId, beats: &[ProcessBeat]) -> Vec<ProcessBeat> {
        if self.last_read.is_none_or(|last| now - last > MAX_GAP) {
            self.seen.clear();
        }
        self.last_read = Some(now);
        self.seen
            .retain(|process, _| beats.iter().any(|beat| beat.process == *process));
        let mut suspects = Vec::new();
        for beat in beats.iter().filter(|beat| beat.process != me) {
            let seen = self.seen.entry(beat.process).or_insert(Seen {
                counter: beat.counter,
                since: now,
            });
            if seen.counter != beat.counter {
                *seen = Seen {
                    counter: beat.counter,
                    since: now,
                };
            } else if now - seen.since >= SILENCE {
                suspects.push(*beat);
            }
        }
        suspects
    }

    /// A read or a beat of our own failed: every count starts again.
    pub fn interrupted(&mut self) {
        self.last_read = None;
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: ProcessId = ProcessId(1);
    const OTHER: ProcessId = ProcessId(2);

    fn beat(counter: i64) -> Vec<ProcessBeat> {
        vec![
            ProcessBeat {
                process: ME,
                counter: 0,
            },
            ProcessBeat {
                process: OTHER,
                counter,
            },
        ]
    }

    fn watch(observer: &mut Observer, start: Instant, seconds: std::ops::Range<u64>) -> bool {
        let mut suspected = false;
        for second in seconds {
            let now = start + Duration::from_secs(second);
            suspected = !observer.read(now, ME, &beat(7)).is_empty();
        }
        suspected
    }

    #[test]
    fn silence_is_suspected_after_ten_seconds_of_watching_and_not_before() {
        let start = Instant::now();
        let mut observer = Observer::default();
        assert!(!watch(&mut observer, start, 0..10));
        assert!(watch(&mut observer, start, 10..11));
    }

    #[test]
    fn a_beat_starts_the_count_again() {
        let start = Instant::now();
        let mut observer = Observer::default();
        watch(&mut observer, start, 0..9);
        observer.read(start + Duration::from_secs(9), ME, &beat(8));
        for second in 10..19 {
            let now = start + Duration::from_secs(second);
            assert!(observer.read(now, ME, &beat(8)).is_empty());
        }
        let now = start + Duration::from_secs(19);
        assert_eq!(observer.read(now, ME, &beat(8)).len(), 1);
    }

    #[test]
    fn a_late_read_starts_the_count_again() {
        let start = Instant::now();
        let mut observer = Observer::default();
        watch(&mut observer, start, 0..9);
        assert!(
            !watch(&mut observer, start, 60..70),
            "a frozen observer woke and accused"
        );
        assert!(watch(&mut observer, start, 70..71));
    }

    #[test]
    fn a_failed_read_or_beat_starts_the_count_again() {
        let start = Instant::now();
        let mut observer = Observer::default();
        watch(&mut observer, start, 0..10);
        observer.interrupted();
        assert!(!watch(&mut observer, start, 10..20));
    }

    #[test]
    fn nobody_suspects_itself() {
        let start = Instant::now();
        let mut observer = Observer::default();
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            let beats = [ProcessBeat {
                process: ME,
                counter: 0,
            }];
            assert!(observer.read(now, ME, &beats).is_empty());
        }
    }
}
