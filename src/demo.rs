//! What `dev --demo` submits and expects.

use std::sync::Arc;

use serde::Serialize;

use crate::config::{SettingError, WorkerSettings};
use crate::job::State;
use crate::worker::{Job, Registry};

type Register = Box<dyn Fn(&mut Registry) -> Result<(), crate::job::NameError> + Send + Sync>;

/// Jobs that show what the program can do, with the ends they should come to. Their own kinds
/// exist only while the demo runs.
#[derive(Default)]
pub struct Demo {
    kinds: Vec<Register>,
    jobs: Vec<DemoJob>,
    followed: Vec<FollowedJob>,
}

/// One job of a demo.
#[derive(Debug, Clone)]
pub struct DemoJob {
    /// What the table says about it.
    pub title: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// Its payload.
    pub payload: serde_json::Value,
    /// How it should end.
    pub ends: State,
}

/// A job that another one of the demo starts.
#[derive(Debug, Clone)]
pub(crate) struct FollowedJob {
    pub(crate) title: &'static str,
    pub(crate) kind: &'static str,
    /// What it is found by.
    pub(crate) tag: String,
    pub(crate) ends: State,
}

impl Demo {
    /// A demo without jobs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind that exists only in the demo, in its queue `demo`.
    #[must_use]
    pub fn kind<J: Job<Context: Default>>(mut self) -> Self {
        self.kinds.push(Box::new(|registry| {
            registry.add::<J, _>(DEMO_QUEUE, |_| Ok(Arc::default()))
        }));
        self
    }

    /// Adds a kind that exists only in the demo, whose context is made from the settings.
    #[must_use]
    pub fn kind_with<J: Job>(
        mut self,
        context: fn(&WorkerSettings) -> Result<J::Context, Vec<SettingError>>,
    ) -> Self {
        self.kinds.push(Box::new(move |registry| {
            registry.add::<J, _>(DEMO_QUEUE, move |settings| context(settings).map(Arc::new))
        }));
        self
    }

    /// Shows a job that another one starts, by its kind and a tag that no other job of the kind
    /// has.
    #[must_use]
    pub fn follow(
        mut self,
        title: &'static str,
        kind: &'static str,
        tag: impl Into<String>,
        ends: State,
    ) -> Self {
        self.followed.push(FollowedJob {
            title,
            kind,
            tag: tag.into(),
            ends,
        });
        self
    }

    /// Adds a job. A payload that cannot be serialized becomes `null`, which its kind refuses.
    #[must_use]
    pub fn submit(
        mut self,
        title: &'static str,
        kind: &'static str,
        payload: impl Serialize,
        ends: State,
    ) -> Self {
        let payload = serde_json::to_value(payload).unwrap_or_default();
        self.jobs.push(DemoJob {
            title,
            kind,
            payload,
            ends,
        });
        self
    }

    pub(crate) fn jobs(&self) -> &[DemoJob] {
        &self.jobs
    }

    pub(crate) fn followed(&self) -> &[FollowedJob] {
        &self.followed
    }

    pub(crate) fn register(&self, registry: &mut Registry) -> Result<(), crate::job::NameError> {
        self.kinds.iter().try_for_each(|kind| kind(registry))
    }
}

impl std::fmt::Debug for Demo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Demo")
            .field("jobs", &self.jobs)
            .finish_non_exhaustive()
    }
}

/// The queue of a demo's own kinds.
pub(crate) const DEMO_QUEUE: &str = "demo";
