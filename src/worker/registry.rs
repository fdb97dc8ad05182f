use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::Schema;
use serde_json::Value;

use super::schema::PayloadSchema;
use super::{Attempt, Door, Handlers, Invalid, Job};
use crate::config::{Queues, SettingError, WorkerSettings};
use crate::job::{JobResult, Kind, NameError, Outcome, QueueName};
use crate::store::{Balance, Migration, Sums};

type Checker = Box<dyn Fn(&[u8]) -> Result<(), Vec<Invalid>> + Send + Sync>;
type Opener = fn(&WorkerSettings) -> Result<Checker, Vec<SettingError>>;
type Builder =
    Box<dyn Fn(&WorkerSettings) -> Result<Arc<dyn Handler>, Vec<SettingError>> + Send + Sync>;

/// A kind that this program knows.
pub struct KindEntry {
    /// Where its jobs wait.
    pub queue: QueueName,
    kind: Kind,
    schema: fn() -> Schema,
    /// Made when it is first asked for: the command line rarely is.
    prepared: OnceLock<PayloadSchema>,
    example: fn() -> Option<Value>,
    check: Checker,
    open_door: Opener,
    build: Builder,
}

impl KindEntry {
    /// Checks a payload against the kind's schema, which finds every wrong field, and then
    /// against its type, which has the last word, and by its door, once that is there
    /// ([`Registry::open_doors`]).
    ///
    /// # Errors
    /// Every wrong field, with its pointer.
    pub fn check(&self, payload: &[u8]) -> Result<(), Vec<Invalid>> {
        // What is no `Value` (`1e999`) is for the type to judge.
        if let Ok(value) = serde_json::from_slice(payload) {
            let errors = self.prepared().errors(&value);
            if !errors.is_empty() {
                return Err(errors);
            }
        }
        (self.check)(payload)
    }

    /// The JSON Schema (2020-12) of its payload.
    #[must_use]
    pub fn schema(&self) -> &Value {
        self.prepared().value()
    }

    /// A payload that shows what there is, if the kind has one.
    #[must_use]
    pub fn example(&self) -> Option<Value> {
        (self.example)()
    }

    fn prepared(&self) -> &PayloadSchema {
        let prepare = || PayloadSchema::new(self.kind.as_str(), (self.schema)());
        self.prepared.get_or_init(prepare)
    }
}

impl fmt::Debug for KindEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindEntry")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// Every kind that this program knows. The intake asks it what is valid; a worker, what to run.
#[derive(Debug, Default)]
pub struct Registry {
    kinds: BTreeMap<Kind, KindEntry>,
    migrations: Vec<Migration>,
    balances: Vec<Balance>,
    sums: Vec<Sums>,
}

impl Registry {
    /// Adds a kind whose context is made from the settings, when this process works its queue.
    ///
    /// # Errors
    /// When the kind or the queue is not a name.
    pub fn add<J, B>(&mut self, queue: &str, build: B) -> Result<(), NameError>
    where
        J: Job,
        B: Fn(&WorkerSettings) -> Result<Arc<J::Context>, Vec<SettingError>>
            + Send
            + Sync
            + 'static,
    {
        self.add_as::<J, B>(J::KIND, queue, build)
    }

    /// Adds a job under another name than its own.
    pub(crate) fn add_as<J, B>(
        &mut self,
        kind: &str,
        queue: &str,
        build: B,
    ) -> Result<(), NameError>
    where
        J: Job,
        B: Fn(&WorkerSettings) -> Result<Arc<J::Context>, Vec<SettingError>>
            + Send
            + Sync
            + 'static,
    {
        let kind: Kind = kind.parse()?;
        let entry = KindEntry {
            queue: queue.parse()?,
            kind: kind.clone(),
            schema: || schemars::schema_for!(J),
            prepared: OnceLock::new(),
            example: || serde_json::to_value(J::example()?).ok(),
            check: checker(Door::<J>::open()),
            open_door: |settings| Ok(checker(J::door(settings)?)),
            build: Box::new(move |settings| {
                let (context, door) = match (build(settings), J::door(settings)) {
                    (Ok(context), Ok(door)) => (context, door),
                    (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => return Err(errors),
                    (Err(errors), Err(more)) => return Err([errors, more].concat()),
                };
                Ok(Arc::new(TypedHandler::<J> { context, door }))
            }),
        };
        self.kinds.insert(kind, entry);
        Ok(())
    }

    /// Makes what the doors check with ([`Job::door`]), for a process that accepts jobs.
    ///
    /// # Errors
    /// Every setting that a door misses.
    pub fn open_doors(&mut self, settings: &WorkerSettings) -> Result<(), Vec<SettingError>> {
        let mut errors = Vec::new();
        for entry in self.kinds.values_mut() {
            match (entry.open_door)(settings) {
                Ok(check) => entry.check = check,
                Err(found) => collect(&mut errors, found),
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// Adds a step that makes tables of its jobs.
    pub fn add_migration(&mut self, migration: Migration) {
        self.migrations.push(migration);
    }

    /// The steps that make the tables of its jobs, in order.
    #[must_use]
    pub fn migrations(&self) -> &[Migration] {
        &self.migrations
    }

    /// Adds a question whether tables of its jobs add up.
    pub fn add_balance(&mut self, balance: Balance) {
        self.balances.push(balance);
    }

    /// The questions whether the tables of its jobs add up.
    #[must_use]
    pub fn balances(&self) -> &[Balance] {
        &self.balances
    }

    /// Adds a question for totals in tables of its jobs.
    pub fn add_sums(&mut self, sums: Sums) {
        self.sums.push(sums);
    }

    /// The questions for the totals in the tables of its jobs.
    #[must_use]
    pub fn sums(&self) -> &[Sums] {
        &self.sums
    }

    /// The kind of that name, and the name.
    #[must_use]
    pub fn find(&self, kind: &str) -> Option<(&Kind, &KindEntry)> {
        self.kinds.get_key_value(kind)
    }

    /// The kind of that name.
    #[must_use]
    pub fn get(&self, kind: &str) -> Option<&KindEntry> {
        self.kinds.get(kind)
    }

    /// All kinds, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Kind, &KindEntry)> {
        self.kinds.iter()
    }

    /// The handler of a kind, with its context built; `None` for a kind that is unknown.
    pub(super) fn handler(
        &self,
        kind: &Kind,
        settings: &WorkerSettings,
    ) -> Option<Result<Arc<dyn Handler>, Vec<SettingError>>> {
        let entry = self.kinds.get(kind)?;
        Some((entry.build)(settings))
    }

    /// The handlers of all kinds in the queues `names`, with their contexts built.
    ///
    /// # Errors
    /// Every setting that a context misses.
    pub fn handlers(
        &self,
        queues: &Queues,
        names: &[QueueName],
        settings: &WorkerSettings,
    ) -> Result<Handlers, Vec<SettingError>> {
        let mut handlers = HashMap::new();
        let mut errors = Vec::new();
        for (kind, entry) in &self.kinds {
            // The queue file may have moved the kind from where it was registered.
            let queue = queues.of_kind(kind).unwrap_or(&entry.queue);
            if names.contains(queue) {
                match (entry.build)(settings) {
                    Ok(handler) => {
                        handlers.insert(kind.clone(), handler);
                    }
                    Err(found) => collect(&mut errors, found),
                }
            }
        }
        if errors.is_empty() {
            Ok(Handlers::new(handlers))
        } else {
            Err(errors)
        }
    }
}

/// Several kinds, and a kind's context and its door, may miss the same setting.
fn collect(errors: &mut Vec<SettingError>, found: Vec<SettingError>) {
    for error in found {
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
}

/// A [`Job`] with its context, its type erased.
pub trait Handler: Send + Sync + 'static {
    /// Checks a payload as the intake would.
    ///
    /// # Errors
    /// Every wrong field that can be told, with its pointer.
    fn check(&self, payload: &[u8]) -> Result<(), Vec<Invalid>>;

    /// Decodes the payload and runs it.
    fn handle(self: Arc<Self>, payload: Bytes, attempt: Attempt) -> BoxFuture<'static, Outcome>;
}

struct TypedHandler<J: Job> {
    context: Arc<J::Context>,
    door: Door<J>,
}

impl<J: Job> Handler for TypedHandler<J> {
    fn check(&self, payload: &[u8]) -> Result<(), Vec<Invalid>> {
        admit(payload, &self.door)
    }

    fn handle(self: Arc<Self>, payload: Bytes, attempt: Attempt) -> BoxFuture<'static, Outcome> {
        async move {
            match decode::<J>(&payload) {
                Ok(job) => {
                    let result: JobResult = job.run(&self.context, &attempt).await;
                    Outcome::from(result)
                }
                Err(errors) => {
                    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
                    Outcome::invalid("invalid_payload", &texts.join("; "))
                }
            }
        }
        .boxed()
    }
}

fn checker<J: Job>(door: Door<J>) -> Checker {
    Box::new(move |payload| admit(payload, &door))
}

/// What a door says to a payload: all that is wrong with it, if it can be read at all.
fn admit<J: Job>(payload: &[u8], door: &Door<J>) -> Result<(), Vec<Invalid>> {
    let job = read::<J>(payload)?;
    let mut wrong = job.validate().err().unwrap_or_default();
    wrong.extend(door.check(&job).err().unwrap_or_default());
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// A payload before its run.
pub(crate) fn decode<J: Job>(payload: &[u8]) -> Result<J, Vec<Invalid>> {
    let job = read::<J>(payload)?;
    job.validate()?;
    Ok(job)
}

/// What is wrong is looked for only where something is: keeping the path costs more than reading.
fn read<J: Job>(payload: &[u8]) -> Result<J, Vec<Invalid>> {
    if let Ok(job) = serde_json::from_slice(payload) {
        return Ok(job);
    }
    let mut reader = serde_json::Deserializer::from_slice(payload);
    let job: J = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| vec![super::pointer::invalid(&error)])?;
    reader
        .end()
        .map_err(|error| vec![Invalid::new("", error.to_string())])?;
    Ok(job)
}

#[cfg(test)]
mod tests;
