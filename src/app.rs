use std::sync::Arc;

use crate::config::{QueueConfig, Queues, SettingError, WorkerSettings};
use crate::demo::Demo;
use crate::store::{Balance, Migration, Sums};
use crate::worker::{Job, Registry};

/// A program that runs jobs: the kinds it knows, and the whole command line around them.
///
/// ```no_run
/// use longshore::job::{Done, JobResult};
/// use longshore::worker::{Attempt, Job};
///
/// #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// struct Greet {
///     name: String,
/// }
///
/// impl Job for Greet {
///     const KIND: &'static str = "greeting.say";
///     type Context = ();
///     async fn run(self, _: &(), attempt: &Attempt) -> JobResult {
///         tracing::info!(attempt = attempt.number(), "hello, {}", self.name);
///         Ok(Done)
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     longshore::App::new().job::<Greet>("greetings", ()).run()
/// }
/// ```
#[derive(Debug, Default)]
pub struct App {
    registry: Registry,
    demo: Option<Demo>,
    mistakes: Vec<String>,
}

impl App {
    /// A program that knows no kind yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind whose jobs wait in `queue`. A queue that `queues.toml` does not name gets
    /// the defaults.
    #[must_use]
    pub fn job<J: Job>(self, queue: &str, context: J::Context) -> Self {
        let context = Arc::new(context);
        self.register::<J>(queue, move |_| Ok(context.clone()))
    }

    /// Adds a kind whose context is made from the settings, in processes that work its queue.
    #[must_use]
    pub fn job_with<J: Job>(
        self,
        queue: &str,
        context: impl Fn(&WorkerSettings) -> Result<J::Context, Vec<SettingError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.register::<J>(queue, move |settings| context(settings).map(Arc::new))
    }

    /// Brings tables of its jobs to this program's version, as part of `longshore migrate` and
    /// `longshore dev`; no other process starts without them. Steps are applied in the order in
    /// which they are given, each once.
    #[must_use]
    pub fn migration(mut self, migration: Migration) -> Self {
        self.registry.add_migration(migration);
        self
    }

    /// Several of them: all that the tables of some kinds ever needed.
    #[must_use]
    pub fn migrations(self, migrations: &[Migration]) -> Self {
        migrations
            .iter()
            .fold(self, |app, migration| app.migration(*migration))
    }

    /// Has `longshore verify` and `longshore doctor` ask whether tables of its jobs add up.
    #[must_use]
    pub fn balance(mut self, balance: Balance) -> Self {
        self.registry.add_balance(balance);
        self
    }

    /// Has `longshore verify` tell totals of the tables of its jobs, beside their balance.
    #[must_use]
    pub fn sums(mut self, sums: Sums) -> Self {
        self.registry.add_sums(sums);
        self
    }

    /// What `dev --demo` shows.
    #[must_use]
    pub fn demo(mut self, demo: Demo) -> Self {
        self.demo = Some(demo);
        self
    }

    fn register<J: Job>(
        mut self,
        queue: &str,
        build: impl Fn(&WorkerSettings) -> Result<Arc<J::Context>, Vec<SettingError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        // Reported by `run`, so that a chain of calls stays one expression.
        if let Err(error) = self.registry.add::<J, _>(queue, build) {
            self.mistakes.push(error.to_string());
        }
        self
    }

    pub(crate) fn into_parts(self) -> Result<(Registry, Option<Demo>), Vec<String>> {
        if self.mistakes.is_empty() {
            Ok((self.registry, self.demo))
        } else {
            Err(self.mistakes)
        }
    }
}

/// Gives every kind that no queue of the file names to the queue it was registered for.
pub(crate) fn complete_queues(queues: &mut Queues, registry: &Registry) {
    for (kind, entry) in registry.iter() {
        if queues.of_kind(kind).is_none() {
            let name = entry.queue.clone();
            let mut queue = queues
                .get(name.as_str())
                .cloned()
                .unwrap_or_else(|| QueueConfig::new(Vec::new()));
            queue.kinds.push(kind.clone());
            queues.insert(name, queue);
        }
    }
}
