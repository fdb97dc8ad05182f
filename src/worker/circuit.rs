use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::breaker::{Breaker, Change, Mode, Signal, Ticket};
use crate::config::BreakerConfig;
use crate::job::{JobError, Outcome, QueueName};
use crate::liveness::Flow;

/// A queue's circuit breaker in this process, shared by its pool and its runs. Each process
/// decides for itself: one may be cut off from a mail server that the others reach.
#[derive(Debug)]
pub(super) struct Circuit {
    queue: QueueName,
    inner: Mutex<Inner>,
    mode: watch::Sender<Mode>,
    /// Told of every change.
    flow: Arc<Flow>,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    /// Since when and why jobs wait.
    outage: Option<(Instant, JobError)>,
}

impl Circuit {
    pub(super) fn new(queue: QueueName, config: BreakerConfig, flow: Arc<Flow>) -> Self {
        let breaker = Breaker::new(config);
        let (mode, _) = watch::channel(breaker.mode());
        let inner = Inner {
            breaker,
            outage: None,
        };
        Self {
            queue,
            inner: Mutex::new(inner),
            mode,
            flow,
        }
    }

    /// Until the queue may be consumed; in which way.
    pub(super) async fn ready(&self) -> Mode {
        let mut modes = self.mode.subscribe();
        loop {
            let mode = *modes.borrow_and_update();
            let Mode::Shut(until) = mode else {
                return mode;
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => self.tick(),
                // The sender is ours: it cannot be gone.
                _ = modes.changed() => {}
            }
        }
    }

    /// Until the queue may no longer be consumed in this way.
    pub(super) async fn leaves(&self, mode: Mode) {
        // As above.
        let _ = self.mode.subscribe().wait_for(|now| *now != mode).await;
    }

    /// Whether jobs wait for what they need.
    pub(super) fn is_open(&self) -> bool {
        matches!(*self.mode.borrow(), Mode::Shut(_))
    }

    /// Lets a run through, or says what its job waits for.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Trial, JobError> {
        let mut inner = self.lock();
        match (inner.breaker.admit(), &inner.outage) {
            (None, Some((_, error))) => Err(error.clone()),
            (ticket, _) => Ok(Trial {
                circuit: self.clone(),
                ticket,
            }),
        }
    }

    /// Why jobs wait, if they do.
    pub(super) fn outage(&self) -> Option<JobError> {
        self.lock().outage.as_ref().map(|(_, error)| error.clone())
    }

    fn tick(&self) {
        let mut inner = self.lock();
        let change = inner.breaker.tick(Instant::now());
        self.changed(&mut inner, change, None);
    }

    fn heard(&self, ticket: Ticket, signal: Signal, error: Option<&JobError>) {
        let mut inner = self.lock();
        let change = inner.breaker.heard(ticket, signal, Instant::now());
        self.changed(&mut inner, change, error);
    }

    /// Tells of a change, still under the lock: in the order in which they happen.
    fn changed(&self, inner: &mut Inner, change: Option<Change>, error: Option<&JobError>) {
        let Some(change) = change else { return };
        let now = Instant::now();
        match (change, error) {
            (Change::Opened, Some(error)) => {
                tracing::warn!(
                    queue.name = %self.queue,
                    error.code = error.code,
                    error.message = error.message,
                    breaker.cooldown_s = inner.breaker.cooldown().as_secs_f64(),
                    "circuit breaker opened: what the queue's jobs need is down; they wait, and \
                     one at a time looks whether it is back"
                );
                inner.outage = Some((now, error.clone()));
            }
            (Change::Reopened, Some(error)) => {
                let since = inner.outage.as_ref().map_or(now, |(since, _)| *since);
                inner.outage = Some((since, error.clone()));
            }
            (Change::Closed, _) => {
                let outage = inner.outage.take();
                let open_s = outage.map_or(0, |(since, _)| (now - since).as_secs());
                tracing::info!(
                    queue.name = %self.queue,
                    breaker.open_s = open_s,
                    "circuit breaker closed: what the queue's jobs need is back"
                );
            }
            _ => {}
        }
        let why = inner.outage.as_ref().map(|(_, error)| error.clone());
        self.flow.breaker(&self.queue, inner.breaker.name(), why);
        self.mode.send_replace(inner.breaker.mode());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run that was let through. Dropped without a word (the task was cut off) it says nothing, so
/// that another one may look.
#[derive(Debug)]
pub(super) struct Trial {
    circuit: Arc<Circuit>,
    ticket: Option<Ticket>,
}

impl Trial {
    /// The run ended so.
    pub(super) fn ended(mut self, outcome: &Outcome) {
        let error = match outcome {
            Outcome::Failure(failure) => Some(failure.error()),
            _ => None,
        };
        if let Some(ticket) = self.ticket.take() {
            self.circuit.heard(ticket, Signal::of(outcome), error);
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.circuit.heard(ticket, Signal::Silent, None);
        }
    }
}
