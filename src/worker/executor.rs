use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::alone::{ALONE_AFTER, Isolation};
use super::circuit::{Circuit, Trial};
use super::gate::Gate;
use super::handler_task::HandlerTask;
use super::jitter::Jitter;
use super::ledger::Ledger;
use super::progress::ProgressBoard;
use super::report;
use super::running::{Presence, Running};
use super::slots::Slot;
use super::transaction::{Commit, CommitCell, Ending};
use super::{Attempt, Handlers};
use crate::broker::Delivery;
use crate::config::{QueueConfig, Queues};
use crate::job::{
    Claimed, Decoded, Done, Failure, JobError, JobId, Kind, Outcome, Priority, Publication,
    QueueName, Run, Transition, decide, decode,
};
use crate::liveness::{Flow, Liveness, Progress};
use crate::store::{Fence, Record, Store};

/// How long a job of a kind that no process here knows may wait for one that does: a rolling
/// deploy, old beside new.
const UNKNOWN_KIND_PATIENCE: Duration = Duration::from_secs(60 * 60);
/// How long a handler may go on when its job's cancellation is requested.
const GRACE: Duration = Duration::from_secs(5);
/// How soon a job of an unknown kind is offered again.
const UNKNOWN_KIND_DELAY: Duration = Duration::from_secs(30);

/// Runs one delivery at a time, from decoding to settling:
/// decode → claim → run → decide → record → settle.
#[derive(Debug)]
pub(super) struct Executor {
    pub(super) queue: QueueName,
    pub(super) config: QueueConfig,
    /// The shortest retention anywhere: an older dispatch that the store does not know was
    /// pruned, not lost.
    pub(super) memory: Duration,
    pub(super) handlers: Arc<Handlers>,
    /// Where kinds wait.
    pub(super) queues: Arc<Queues>,
    pub(super) store: Arc<dyn Store>,
    pub(super) liveness: Arc<Liveness>,
    pub(super) progress: Arc<Progress>,
    pub(super) running: Arc<Running>,
    /// What handlers say of how far they are.
    pub(super) board: Arc<ProgressBoard>,
    pub(super) ledger: Ledger,
    pub(super) flow: Arc<Flow>,
    pub(super) jitter: Jitter,
    /// Where jobs run that take their process down.
    pub(super) isolation: Option<Isolation>,
    /// Whether the queue's jobs may be started.
    pub(super) gate: Gate,
    /// Whether what they need is there.
    pub(super) circuit: Arc<Circuit>,
    /// Fires when the shutdown deadline is over: what runs is cut off and handed back.
    pub(super) deadline: CancellationToken,
    /// Fires when this process takes nothing more.
    pub(super) draining: CancellationToken,
}

/// The shortest retention of all queues.
pub(super) fn memory(queues: &Queues) -> Duration {
    queues
        .iter()
        .map(|(_, queue)| queue.retention.min(queue.dead_retention))
        .min()
        .unwrap_or_default()
}

impl Executor {
    /// Takes a delivery to its end. A delivery that is dropped unsettled on the way stays with
    /// the broker, which delivers it again when this consumer ends.
    pub(super) async fn execute(&self, delivery: Delivery, priority: Priority, slot: Slot) {
        match decode(&delivery.message, &self.queue, priority) {
            Decoded::Ours(publication) => self.take(publication, delivery, slot).await,
            Decoded::Foreign(foreign) => self.adopt(foreign, priority, delivery).await,
            Decoded::Junk(junk) => self.bury(&junk, delivery).await,
        }
    }

    async fn take(&self, publication: Publication, delivery: Delivery, mut slot: Slot) {
        let presence = self.running.enter(publication.id);
        let Some(claimed) = self.claim(&publication, &delivery.message, &mut slot).await else {
            return delivery.release(); // stopping: another worker may be idle
        };
        let Some(claimed) = claimed else {
            return delivery.ack(); // stale, a duplicate, or somebody else's
        };
        if priority_is_normal(&publication) {
            self.progress.delivered(&self.queue, claimed.queued_at);
        }
        let stop = presence.stop(claimed.owner, claimed.epoch);
        let trial = match self.pass(&slot) {
            Ok(trial) => trial,
            Err(outcome) => {
                let transition = self.decide(&claimed, outcome);
                return self
                    .finish(&publication, &claimed, transition, delivery, &presence)
                    .await;
            }
        };
        let ending = self.ending(publication.id, &claimed);
        let timer = self.flow.run(&self.queue);
        let outcome = self.run(&publication, &claimed, &stop, &ending).await;
        drop(timer);
        let outcome = match ending.commit.get() {
            Commit::None => outcome,
            Commit::Done => {
                trial.ended(&Outcome::Success(Done));
                let success = Transition::Succeed { result: None };
                self.ended(&publication, &claimed, &success, Some(true), &presence);
                return delivery.ack();
            }
            // A hand-back asks the store: it waits for a commit that is still under way, and is
            // refused if the job has ended or is somebody else's.
            Commit::Unknown | Commit::Refused => Outcome::Interrupted,
        };
        trial.ended(&outcome);
        let mut transition = self.decide(&claimed, outcome);
        if stop.is_cancelled() {
            transition = transition.under_cancellation();
        }
        self.finish(&publication, &claimed, transition, delivery, &presence)
            .await;
    }

    /// Lets the run through the queue's circuit breaker, or says how it ends before it began.
    fn pass(&self, slot: &Slot) -> Result<Trial, Outcome> {
        if slot.runs() {
            return self.circuit.admit().map_err(|error| put_off(&error));
        }
        // It is back already: whoever has a slot may run it.
        let outage = self.circuit.outage();
        Err(outage.map_or(Outcome::Interrupted, |error| put_off(&error)))
    }

    fn ending(&self, id: JobId, claimed: &Claimed) -> Ending {
        Ending {
            store: self.store.clone(),
            queues: self.queues.clone(),
            fence: Fence {
                id,
                owner: claimed.owner,
                epoch: claimed.epoch,
            },
            commit: Arc::new(CommitCell::default()),
        }
    }

    async fn run(
        &self,
        publication: &Publication,
        claimed: &Claimed,
        stop: &CancellationToken,
        ending: &Ending,
    ) -> Outcome {
        // Between the claim and here the process may have been frozen: an effect may start only
        // while nobody can have declared us dead.
        if !self.liveness.fresh() {
            return Outcome::Interrupted;
        }
        let Some(handler) = self.handlers.of_delivered(&publication.kind) else {
            return unknown_kind(&publication.kind, claimed);
        };
        let cancelled = CancellationToken::new();
        let attempt = Attempt {
            job_id: publication.id,
            dispatch: publication.dispatch,
            number: claimed.failures + 1,
            earlier_failures: claimed.earlier_failures,
            max_attempts: self.max_attempts(claimed),
            created_at: claimed.created_at,
            cancelled: cancelled.clone(),
            deadline: Instant::now() + self.config.timeout,
            board: self.board.clone(),
            ending: ending.clone(),
        };
        let payload = publication.payload.clone();
        let work = match &self.isolation {
            Some(isolation) if claimed.crashes >= ALONE_AFTER => {
                let (isolation, kind) = (isolation.clone(), publication.kind.clone());
                isolation
                    .run(kind, claimed.crashes, payload, attempt)
                    .boxed()
            }
            _ => handler.handle(payload, attempt),
        };
        let work = AssertUnwindSafe(work);
        // A task of its own, so that a handler that computes without awaiting delays its
        // neighbours as little as possible; aborted whenever this future is dropped.
        let mut task = HandlerTask::new(tokio::spawn(work.catch_unwind()));
        let ended = self.supervise(&mut task, claimed, stop).await;
        cancelled.cancel();
        let outcome = match ended {
            Some(outcome) => outcome,
            None => self.grace(&mut task, claimed).await,
        };
        // What it did is done: a success that comes while it is being stopped counts.
        match task.stopped().await {
            Some(late @ Outcome::Success(_)) => late,
            _ => outcome,
        }
    }

    /// How the handler ended, or why it must; `None` if an operator wants the job cancelled.
    async fn supervise(
        &self,
        task: &mut HandlerTask,
        claimed: &Claimed,
        stop: &CancellationToken,
    ) -> Option<Outcome> {
        let lost = self.liveness.lost(claimed.owner);
        Some(tokio::select! {
            biased;
            ended = task.ended() => ended,
            // The job is no longer ours: what the handler would return is refused anyway.
            () = lost => Outcome::Interrupted,
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(self.config.timeout) => self.timed_out(),
            () = self.deadline.cancelled() => Outcome::Interrupted,
        })
    }

    /// A process that has not beaten for so long was frozen, or cut off from the store, and its
    /// handlers with it: that the time is over says nothing of the job.
    fn timed_out(&self) -> Outcome {
        match self.liveness.fresh() {
            true => Outcome::timed_out(self.config.timeout),
            false => Outcome::Interrupted,
        }
    }

    /// Lets a handler that was asked to stop come to an end, which counts if it is one.
    async fn grace(&self, task: &mut HandlerTask, claimed: &Claimed) -> Outcome {
        let lost = self.liveness.lost(claimed.owner);
        let ended = tokio::select! {
            biased;
            ended = task.ended() => Some(ended),
            // As in `supervise`: it may run elsewhere by now.
            () = lost => None,
            () = tokio::time::sleep(GRACE) => None,
            () = self.deadline.cancelled() => None,
        };
        ended.unwrap_or_else(|| {
            task.abort();
            Outcome::Cancelled
        })
    }

    fn decide(&self, claimed: &Claimed, outcome: Outcome) -> Transition {
        let run = Run {
            attempt: claimed.failures + 1,
            max_attempts: self.max_attempts(claimed),
        };
        let cooldown = self.config.breaker.cooldown;
        decide(
            outcome,
            run,
            &self.config.retry,
            cooldown,
            self.jitter.next(),
        )
    }

    fn max_attempts(&self, claimed: &Claimed) -> u32 {
        claimed
            .max_attempts
            .unwrap_or(self.config.retry.max_attempts)
    }

    /// Records, then settles. A crash between the two leaves the message with the broker; it
    /// comes again, is found stale and dropped.
    async fn finish(
        &self,
        publication: &Publication,
        claimed: &Claimed,
        transition: Transition,
        delivery: Delivery,
        presence: &Presence,
    ) {
        let record = Record {
            id: publication.id,
            owner: claimed.owner,
            epoch: claimed.epoch,
            transition: transition.clone(),
        };
        let kept = self.ledger.record(record).await;
        self.ended(publication, claimed, &transition, kept, presence);
        match kept {
            None => drop(delivery),
            Some(true) if matches!(transition, Transition::Die { .. }) => delivery.reject(),
            Some(_) => delivery.ack(),
        }
    }

    fn ended(
        &self,
        publication: &Publication,
        claimed: &Claimed,
        transition: &Transition,
        kept: Option<bool>,
        presence: &Presence,
    ) {
        presence.ended(claimed.owner, claimed.epoch);
        self.board.ended(Fence {
            id: publication.id,
            owner: claimed.owner,
            epoch: claimed.epoch,
        });
        if kept == Some(true) && transition.target().is_final() {
            self.flow.finished(&self.queue, publication.id);
        }
        self.flow
            .outcome(&self.queue, report::outcome(transition, kept));
        report::log(publication, claimed, transition, kept);
    }
}

/// A job that is not tried, because others have found down what it needs: nothing is counted.
fn put_off(error: &JobError) -> Outcome {
    let message = format!("not tried; others found: {}", error.message);
    Outcome::Failure(Failure::unavailable(&error.code, message).inside())
}

fn priority_is_normal(publication: &Publication) -> bool {
    !publication.priority.is_high()
}

fn unknown_kind(kind: &Kind, claimed: &Claimed) -> Outcome {
    let message = format!("no worker of this queue knows the kind `{kind}`");
    let failure = if claimed.postponed_for.unwrap_or_default() >= UNKNOWN_KIND_PATIENCE {
        Failure::permanent("unknown_kind", message)
    } else {
        Failure::unavailable("unknown_kind", message)
            .after(UNKNOWN_KIND_DELAY)
            .inside()
    };
    Outcome::Failure(failure)
}
