use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::error::ConfigError;
use super::parse;
use crate::job::{Kind, QueueName, RetryPolicy};

/// The queue of `longshore bench`: it is there only while that measures, and its kinds are
/// announced to nobody.
pub const BENCH_QUEUE: &str = "bench";
/// The kind that `longshore bench` has of its own; where it measures several queues, the others'
/// kinds begin with it.
pub const BENCH_KIND: &str = "bench.noop";

/// How one queue is worked.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueConfig {
    /// Kinds that wait here.
    pub kinds: Vec<Kind>,
    /// Handlers at once in one worker process.
    pub concurrency: u32,
    /// Unacknowledged deliveries one worker process holds at most.
    pub prefetch: u16,
    /// Per attempt; below the broker's consumer timeout.
    pub timeout: Duration,
    /// How long succeeded and cancelled jobs are kept, from their end.
    pub retention: Duration,
    /// How long dead jobs are kept, from their end.
    pub dead_retention: Duration,
    /// When to try again.
    pub retry: RetryPolicy,
    /// When to leave an unavailable dependency alone.
    pub breaker: BreakerConfig,
}

/// When to leave an unavailable dependency alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Unavailable outcomes in a row that open it.
    pub failures: u32,
    /// How long it stays open before one job probes.
    pub cooldown: Duration,
}

impl QueueConfig {
    /// A queue for these kinds with every setting at its default.
    #[must_use]
    pub fn new(kinds: Vec<Kind>) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            kinds,
            concurrency: 64,
            prefetch: 128,
            timeout: Duration::from_secs(60),
            retention: 7 * DAY,
            dead_retention: 90 * DAY,
            retry: RetryPolicy::default(),
            breaker: BreakerConfig {
                failures: 5,
                cooldown: Duration::from_secs(10),
            },
        }
    }

    /// How long a dispatched job may stay unclaimed before it counts as lost: a full prefetch
    /// buffer of jobs that each take the whole timeout, plus 10 s.
    #[must_use]
    pub fn grace(&self) -> Duration {
        let rounds = u32::from(self.prefetch).div_ceil(self.concurrency.max(1));
        self.timeout * rounds.max(1) + Duration::from_secs(10)
    }
}

/// The built-in copy of the queue file, which documents every key.
const BUILT_IN: &str = include_str!("../../queues.toml");
const BUILT_IN_ORIGIN: &str = "built-in queues.toml";
const FILE: &str = "queues.toml";

/// Every queue by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Queues(BTreeMap<QueueName, QueueConfig>);

impl Queues {
    /// Reads the text of a queue file; `origin` names it in errors.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Vec<ConfigError>> {
        parse::parse(text, origin)
    }

    /// The queues of the `queues.toml` that this program was built with.
    #[must_use]
    pub fn built_in() -> Self {
        // A test holds that the copy parses.
        Self::parse(BUILT_IN, BUILT_IN_ORIGIN).unwrap_or_default()
    }

    /// Reads the file at `path` (the value of `LONGSHORE_QUEUES`), which must exist; without a
    /// path `queues.toml` in the working directory, or else the built-in copy.
    ///
    /// # Errors
    /// That the file cannot be read, or everything that is wrong with it.
    pub fn load(path: Option<&Path>) -> Result<Self, Vec<ConfigError>> {
        Self::load_or(path, Path::new(FILE))
    }

    fn load_or(path: Option<&Path>, fallback: &Path) -> Result<Self, Vec<ConfigError>> {
        let chosen = path.unwrap_or(fallback);
        match std::fs::read_to_string(chosen) {
            Ok(text) => Self::parse(&text, &chosen.display().to_string()),
            Err(error) if path.is_none() && error.kind() == ErrorKind::NotFound => {
                Self::parse(BUILT_IN, BUILT_IN_ORIGIN)
            }
            Err(error) => Err(vec![unreadable(chosen, path.is_some(), &error)]),
        }
    }

    /// The queue of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&QueueConfig> {
        self.0.get(name)
    }

    /// All queues, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&QueueName, &QueueConfig)> {
        self.0.iter()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &QueueName> {
        self.0.keys()
    }

    /// Adds or replaces a queue.
    pub fn insert(&mut self, name: QueueName, queue: QueueConfig) {
        self.0.insert(name, queue);
    }

    /// The queue where jobs of this kind wait.
    #[must_use]
    pub fn of_kind(&self, kind: &Kind) -> Option<&QueueName> {
        self.0
            .iter()
            .find(|(_, queue)| queue.kinds.contains(kind))
            .map(|(name, _)| name)
    }
}

fn unreadable(path: &Path, given: bool, error: &std::io::Error) -> ConfigError {
    let (key, fix) = if given {
        let fix = "set it to the path of a queue file, or unset it to use ./queues.toml or else \
                   the built-in copy";
        ("LONGSHORE_QUEUES", fix)
    } else {
        let fix = "make it readable text, or remove it to use the built-in copy";
        ("", fix)
    };
    ConfigError {
        origin: path.display().to_string(),
        position: None,
        key: key.to_owned(),
        message: format!("cannot be read: {error}"),
        fix: fix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_file_is_read_and_must_exist() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        let missing = Queues::load(Some(&file)).unwrap_err();
        assert_eq!(missing.len(), 1);
        let shown = missing[0].to_string();
        let expected = format!("{}: LONGSHORE_QUEUES: cannot be read: ", file.display());
        assert!(shown.starts_with(&expected), "{shown}");

        std::fs::write(&file, "[queues.mine]\nkinds = [\"a.b\"]\n").unwrap();
        let queues = Queues::load(Some(&file)).unwrap();
        assert_eq!(
            queues.of_kind(&"a.b".parse().unwrap()).unwrap().as_str(),
            "mine"
        );

        std::fs::write(&file, "[queues.mine]\n").unwrap();
        let shown = Queues::load(Some(&file)).unwrap_err()[0].to_string();
        assert!(
            shown.starts_with(&format!("{}:1:9: ", file.display())),
            "{shown}"
        );

        std::fs::write(&file, b"\xff").unwrap();
        assert!(Queues::load(Some(&file)).is_err(), "not UTF-8");
        assert!(Queues::load(Some(folder.path())).is_err(), "a folder");
    }

    #[test]
    fn without_a_path_the_file_beside_is_read_or_else_the_built_in_copy() {
        let folder = tempfile::tempdir().unwrap();
        let beside = folder.path().join("queues.toml");
        assert_eq!(Queues::load_or(None, &beside), Ok(Queues::built_in()));

        std::fs::write(&beside, "[queues.mine]\nkinds = []\n").unwrap();
        assert!(
            Queues::load_or(None, &beside)
                .unwrap()
                .get("mine")
                .is_some()
        );
        let given = Path::new("does/not/exist.toml");
        assert!(
            Queues::load_or(Some(given), &beside).is_err(),
            "a given path has no fallback"
        );

        std::fs::write(&beside, "nonsense").unwrap();
        assert!(
            Queues::load_or(None, &beside).is_err(),
            "a broken file is not passed over"
        );
    }
}
