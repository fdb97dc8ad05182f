use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use longshore::job::{
    Claimed, ErrorClass, JobError, JobId, JobView, NewJob, ProcessId, Publication, QueueName,
    Standing, Start, State, Transition,
};
use longshore::store::{
    Action, Claim, ClaimRequest, Inserted, Insertion, JobFilter, NewOperation, NewProcess,
    OperationId, OperationState, OutboxEntry, Page, Record, Retention, Role, StepBy, Store,
    StoreError, StoreResult,
};

use super::backend::Backend;

/// A lease that does not lapse while a case runs.
pub(crate) const LONG: Duration = Duration::from_secs(3600);
/// A lease that has lapsed by the next call; a delay that is over by then.
pub(crate) const ZERO: Duration = Duration::ZERO;
/// How long a bounded wait waits before its case fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// One case's database, and a worker process on it.
pub(crate) struct World {
    /// Dereferenced by the cases in nearly every line.
    pub(crate) store: Arc<dyn Store>,
    /// Alive, named `host/1`. 0 in a fresh world.
    pub(crate) process: ProcessId,
    backend: Box<dyn Backend>,
}

impl World {
    /// A database without a schema.
    pub(crate) async fn fresh<B: Backend>() -> Self {
        Self::on(B::create().await).await
    }

    /// A database that the case knows, so that it can look behind the store.
    pub(crate) async fn on(backend: impl Backend) -> Self {
        Self {
            store: backend.open().await,
            process: ProcessId(0),
            backend: Box::new(backend),
        }
    }

    /// A migrated database with one process.
    pub(crate) async fn migrated<B: Backend>() -> Self {
        Self::fresh::<B>().await.migrate().await
    }

    pub(crate) async fn migrate(mut self) -> Self {
        self.store.migrate().await.unwrap();
        self.process = self.register("host/1").await;
        self
    }

    /// The end of every case: whatever was done, every accepted job is accounted for.
    pub(crate) async fn close(self) {
        self.balanced().await;
        self.store.close().await;
        self.backend.destroy().await;
    }

    pub(crate) async fn balanced(&self) {
        let sheet = match self.store.sheet(&[], &[], 10).await {
            // A case that has migrated nothing.
            Err(StoreError::Schema(_)) if self.process.0 == 0 => return,
            sheet => sheet.unwrap(),
        };
        assert!(sheet.is_balanced(), "{sheet:?}");
        assert_eq!(self.store.tally().await.unwrap(), sheet.jobs);
    }

    /// Changes rows by hand.
    pub(crate) async fn tamper(&self, postgres: &str, sqlite: &str) {
        self.backend.tamper(postgres, sqlite).await;
    }

    pub(crate) async fn is_sqlite(&self) -> bool {
        self.store.version().await.unwrap().starts_with("SQLite")
    }

    /// The same database as another process would open it.
    pub(crate) async fn elsewhere(&self) -> Arc<dyn Store> {
        self.backend.open().await
    }

    pub(crate) async fn register(&self, name: &str) -> ProcessId {
        let process = NewProcess {
            role: Role::Worker,
            name: name.to_owned(),
            version: "1.2.3".to_owned(),
            queues: vec![queue("email"), queue("payment")],
        };
        self.store.register(&process).await.unwrap()
    }

    pub(crate) async fn counter(&self, process: ProcessId) -> i64 {
        let beats = self.store.beats().await.unwrap();
        let beat = beats.iter().find(|beat| beat.process == process);
        beat.expect("the process is alive").counter
    }

    pub(crate) async fn insert(&self, jobs: &[NewJob]) -> Insertion {
        self.store.insert(self.process, jobs, LONG).await.unwrap()
    }

    /// Inserts jobs that must all be new.
    pub(crate) async fn accept(&self, jobs: &[NewJob]) {
        let insertion = self.insert(jobs).await;
        assert_eq!(insertion.jobs.len(), jobs.len());
        for answer in insertion.jobs {
            assert!(matches!(answer, Inserted::Accepted { .. }), "{answer:?}");
        }
    }

    /// Accepts one job for now, its entry leased for [`LONG`].
    pub(crate) async fn queued(&self) -> JobId {
        let job = new_job();
        self.accept(std::slice::from_ref(&job)).await;
        job.id
    }

    /// Accepts one job for now and claims it.
    pub(crate) async fn running(&self) -> (JobId, Claimed) {
        let id = self.queued().await;
        (id, self.won(id, 1).await)
    }

    /// Accepts a job, runs it and ends its run so.
    pub(crate) async fn ended(&self, job: NewJob, transition: Transition) -> JobId {
        let id = job.id;
        self.accept(&[job]).await;
        let claimed = self.won(id, 1).await;
        assert!(self.record(id, &claimed, transition).await);
        id
    }

    pub(crate) async fn claim(&self, process: ProcessId, id: JobId, dispatch: i32) -> Claim {
        let request = ClaimRequest {
            id,
            dispatch,
            over_epoch: None,
        };
        let mut answers = self.store.claim(process, &[request]).await.unwrap();
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    /// A claim of this world's own process that must be won.
    pub(crate) async fn won(&self, id: JobId, dispatch: i32) -> Claimed {
        match self.claim(self.process, id, dispatch).await {
            Claim::Won(claimed) => claimed,
            Claim::Lost(standing) => panic!("lost to {standing:?}"),
        }
    }

    /// A claim of this world's own process that must be lost to a row.
    pub(crate) async fn lost(&self, id: JobId, dispatch: i32) -> Standing {
        match self.claim(self.process, id, dispatch).await {
            Claim::Lost(Some(standing)) => standing,
            other => panic!("not lost to a row: {other:?}"),
        }
    }

    pub(crate) async fn record(&self, id: JobId, claimed: &Claimed, to: Transition) -> bool {
        let answers = self.store.record(&[record(id, claimed, to)]).await.unwrap();
        assert_eq!(answers.len(), 1);
        answers[0]
    }

    pub(crate) async fn view(&self, id: JobId) -> JobView {
        self.store.job(id).await.unwrap().expect("the job exists")
    }

    pub(crate) async fn list(&self, filter: JobFilter) -> Vec<JobId> {
        let page = Page {
            limit: 1000,
            before: None,
        };
        let views = self.store.list(&filter, page).await.unwrap();
        views.into_iter().map(|view| view.id).collect()
    }

    /// Leases everything that can be leased, for ever.
    pub(crate) async fn leased(&self) -> Vec<OutboxEntry> {
        self.store.lease_outbox(1000, LONG).await.unwrap()
    }

    /// Promotes until something is due. Bounded.
    pub(crate) async fn promoted(&self) -> OutboxEntry {
        eventually(async || self.store.promote_due(1000, LONG).await.unwrap()).await
    }

    /// All that an operation of its own sends back, oldest first, under its first entry.
    pub(crate) async fn requeue_dead(
        &self,
        filter: &JobFilter,
        limit: u32,
        lease: Duration,
    ) -> Option<OutboxEntry> {
        requeue_dead(&*self.store, filter, limit, lease).await
    }

    /// Prunes everything that is finished.
    pub(crate) async fn prune_all(&self) -> u64 {
        let nothing = Retention {
            queue: None,
            finished: ZERO,
            dead: ZERO,
        };
        self.store.prune(&[], &nothing).await.unwrap()
    }
}

pub(crate) fn queue(name: &str) -> QueueName {
    name.parse().unwrap()
}

/// A job for now: kind `email.send`, queue `email`.
pub(crate) fn new_job() -> NewJob {
    NewJob::new(
        "email.send".parse().unwrap(),
        queue("email"),
        r#"{"to":["a@example.org"]}"#,
    )
}

pub(crate) fn new_jobs(count: usize) -> Vec<NewJob> {
    (0..count).map(|_| new_job()).collect()
}

pub(crate) fn job_in(kind: &str, queue_name: &str) -> NewJob {
    NewJob::new(kind.parse().unwrap(), queue(queue_name), "{}")
}

pub(crate) fn job_after(delay: Duration) -> NewJob {
    NewJob {
        start: Start::After(delay),
        ..new_job()
    }
}

pub(crate) fn ids(jobs: &[NewJob]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

pub(crate) fn published(publications: &[Publication]) -> Vec<(JobId, i32)> {
    publications.iter().map(|p| (p.id, p.dispatch)).collect()
}

pub(crate) fn record(id: JobId, claimed: &Claimed, transition: Transition) -> Record {
    Record {
        id,
        owner: claimed.owner,
        epoch: claimed.epoch,
        transition,
    }
}

pub(crate) fn failure(code: &str) -> JobError {
    JobError::new(ErrorClass::Retryable, code, "it did not work")
}

pub(crate) fn succeed() -> Transition {
    Transition::Succeed { result: None }
}

pub(crate) fn retry(after: Duration) -> Transition {
    Transition::Retry {
        error: failure("flaky"),
        after,
    }
}

pub(crate) fn postpone(after: Duration) -> Transition {
    Transition::Postpone {
        error: JobError::new(ErrorClass::Unavailable, "smtp_down", "no route to host"),
        after,
    }
}

pub(crate) fn die(code: &str) -> Transition {
    Transition::Die {
        error: JobError::new(ErrorClass::Permanent, code, "it never will"),
    }
}

/// An operation on all dead jobs.
pub(crate) fn new_operation(action: Action) -> NewOperation {
    NewOperation {
        id: OperationId::new(),
        action,
        filter: JobFilter::default(),
        limit: None,
        rate: None,
        created_by: "somebody".to_owned(),
    }
}

/// A new executor of steps of this size, which keeps what it has.
pub(crate) fn step_by(batch: u32) -> StepBy {
    StepBy {
        executor: uuid::Uuid::now_v7(),
        batch,
        hold: LONG,
        lease: LONG,
    }
}

/// All that an operation of its own sends back, oldest first, under its first entry.
pub(crate) async fn requeue_dead(
    store: &dyn Store,
    filter: &JobFilter,
    limit: u32,
    lease: Duration,
) -> Option<OutboxEntry> {
    let operation = NewOperation {
        limit: Some(limit.into()),
        filter: filter.clone(),
        ..new_operation(Action::Requeue)
    };
    let begun = patiently(|| store.begin(&operation)).await;
    let by = StepBy {
        lease,
        ..step_by(1000)
    };
    let mut sent: Option<OutboxEntry> = None;
    loop {
        let advance = patiently(|| store.advance(&by, Some(begun.id))).await;
        let advance = advance.expect("nobody else has it");
        match (&mut sent, advance.entry) {
            (Some(sent), Some(more)) => sent.publications.extend(more.publications),
            (sent @ None, first) => *sent = first,
            (Some(_), None) => {}
        }
        if advance.operation.state == OperationState::Done {
            return sent;
        }
    }
}

pub(crate) fn in_state(state: State) -> JobFilter {
    JobFilter {
        states: vec![state],
        ..JobFilter::default()
    }
}

/// Repeats a call that lost to a conflicting transaction, as the contract tells every caller to.
pub(crate) async fn patiently<T, F: Future<Output = StoreResult<T>>>(call: impl Fn() -> F) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match call().await {
            Err(StoreError::Contention(_)) if tokio::time::Instant::now() < deadline => {}
            answer => return answer.unwrap(),
        }
    }
}

/// Asks until there is something. Bounded.
pub(crate) async fn eventually<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "never came true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs `count` calls at once, over several stores on the same database.
pub(crate) async fn at_once<T, F>(
    world: &World,
    count: usize,
    call: impl Fn(Arc<dyn Store>, usize) -> F,
) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let stores = [world.store.clone(), world.elsewhere().await];
    let tasks: Vec<_> = (0..count)
        .map(|n| tokio::spawn(call(stores[n % stores.len()].clone(), n)))
        .collect();
    let mut answers = Vec::with_capacity(count);
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    stores[1].close().await;
    answers
}
