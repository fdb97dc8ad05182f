use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Handler, Registry};
use crate::config::WorkerSettings;
use crate::job::Kind;

/// The handlers of one worker process, by kind.
#[derive(Default)]
pub struct Handlers {
    own: HashMap<Kind, Arc<dyn Handler>>,
    spares: Option<Spares>,
}

/// Kinds of other queues.
struct Spares {
    registry: Arc<Registry>,
    settings: WorkerSettings,
    /// Of those that were asked for; `None` where a setting is missing.
    made: Mutex<HashMap<Kind, Option<Arc<dyn Handler>>>>,
}

impl Handlers {
    pub(super) const fn new(own: HashMap<Kind, Arc<dyn Handler>>) -> Self {
        Self { own, spares: None }
    }

    /// With what it takes to run jobs that were accepted before `queues.toml` moved their kind
    /// to a queue of another worker: they are still where they were.
    #[must_use]
    pub fn with_spares(self, registry: Arc<Registry>, settings: WorkerSettings) -> Self {
        let made = Mutex::default();
        let spares = Some(Spares {
            registry,
            settings,
            made,
        });
        Self { spares, ..self }
    }

    /// Those of `kinds` that this process has.
    #[must_use]
    pub fn kinds_among(&self, kinds: &[Kind]) -> Vec<Kind> {
        let known = kinds.iter().filter(|kind| self.own.contains_key(*kind));
        known.cloned().collect()
    }

    /// The handler of that kind, if it is one of this process's queues.
    #[must_use]
    pub fn get(&self, kind: &Kind) -> Option<Arc<dyn Handler>> {
        self.own.get(kind).cloned()
    }

    /// The handler of a job of that kind that was delivered here; made when it is first asked
    /// for, if its queue is another worker's and this process has the settings that it needs.
    pub(super) fn of_delivered(&self, kind: &Kind) -> Option<Arc<dyn Handler>> {
        let own = self.get(kind);
        own.or_else(|| self.spares.as_ref()?.handler(kind))
    }
}

impl Spares {
    fn handler(&self, kind: &Kind) -> Option<Arc<dyn Handler>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handler) = made.get(kind) {
            return handler.clone();
        }
        // Not kept where the kind is unknown: messages from outside may name any.
        let built = self.registry.handler(kind, &self.settings)?;
        let handler = built
            .inspect_err(|errors| {
                let missing: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
                tracing::warn!(
                    job.kind = %kind,
                    missing = missing.join(", "),
                    "jobs of a kind that has moved to another queue wait in this one, and this \
                     worker lacks the settings to run them"
                );
            })
            .ok();
        made.insert(kind.clone(), handler.clone());
        handler
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.own.keys()).finish()
    }
}
