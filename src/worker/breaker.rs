use std::time::Duration;

use tokio::time::Instant;

use crate::config::BreakerConfig;
use crate::job::{ErrorClass, Outcome};

/// What the end of a run says of what the queue's jobs need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// The handler says that it is down.
    Unavailable,
    /// It answered: the run succeeded, or failed for a reason that may pass.
    Answered,
    /// The job itself is wrong, which the handler may have seen before it asked anybody. It breaks
    /// a run of failures, but after an outage the next job has to look, until as many in a row as
    /// opened the breaker have met no outage.
    Refused,
    /// The handler waits for something that is under way. No run of failures begins or ends with
    /// that; after an outage it counts as a refusal does.
    Waiting,
    /// Nothing: the run was cut off, panicked or ran out of time, its payload could not be read,
    /// or the store of the job itself was away.
    Silent,
}

impl Signal {
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Success(_) => Self::Answered,
            Outcome::Failure(failure) => match failure.error.class {
                ErrorClass::Unavailable if failure.outside => Self::Unavailable,
                ErrorClass::Retryable => Self::Answered,
                ErrorClass::Permanent => Self::Refused,
                ErrorClass::Waiting => Self::Waiting,
                ErrorClass::Unavailable
                | ErrorClass::Timeout
                | ErrorClass::Panic
                | ErrorClass::Invalid => Self::Silent,
            },
            Outcome::Interrupted | Outcome::Cancelled => Self::Silent,
        }
    }
}

/// A run that was let through. What it says counts only while nothing has changed since: a
/// handler that began before an outage and ends after it brings old news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// A change that people should know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Jobs flowed; now they wait.
    Opened,
    /// The job that was let through found it still down.
    Reopened,
    /// The cool-down is over: one job may look.
    HalfOpened,
    /// Jobs flow again.
    Closed,
}

/// How a queue may be consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Wholly.
    Flowing,
    /// One job at a time.
    Probing,
    /// Not before then.
    Shut(Instant),
}

/// A circuit breaker: closed → open → half-open → closed. Pure: it is told what happens and when.
#[derive(Debug)]
pub(super) struct Breaker {
    config: BreakerConfig,
    state: State,
    /// Raised at each change of state.
    age: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// With so many unavailable outcomes in a row.
    Closed(u32),
    /// Until then.
    Open(Instant),
    /// With a job let through or not yet, and so many in a row that came back without saying that it
    /// is still down.
    HalfOpen { probing: bool, unharmed: u32 },
}

impl Breaker {
    pub(super) const fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            state: State::Closed(0),
            age: 0,
        }
    }

    /// The state's name, as operators see it.
    pub(super) const fn name(&self) -> &'static str {
        match self.state {
            State::Closed(_) => "closed",
            State::Open(_) => "open",
            State::HalfOpen { .. } => "half_open",
        }
    }

    pub(super) const fn cooldown(&self) -> Duration {
        self.config.cooldown
    }

    pub(super) const fn mode(&self) -> Mode {
        match self.state {
            State::Closed(_) => Mode::Flowing,
            State::Open(until) => Mode::Shut(until),
            State::HalfOpen { .. } => Mode::Probing,
        }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Change> {
        match self.state {
            State::Open(until) if now >= until => Some(self.enter(State::HalfOpen {
                probing: false,
                unharmed: 0,
            })),
            _ => None,
        }
    }

    /// May a handler start? While half-open one may, until it has told.
    pub(super) fn admit(&mut self) -> Option<Ticket> {
        match &mut self.state {
            State::Closed(_) => {}
            State::Open(_) | State::HalfOpen { probing: true, .. } => return None,
            State::HalfOpen { probing, .. } => *probing = true,
        }
        Some(Ticket(self.age))
    }

    /// A run that was let through has ended.
    pub(super) fn heard(&mut self, ticket: Ticket, signal: Signal, now: Instant) -> Option<Change> {
        if ticket.0 != self.age {
            return None;
        }
        match (self.state, signal) {
            (State::Closed(in_a_row), Signal::Unavailable) => {
                let in_a_row = in_a_row.saturating_add(1);
                if in_a_row >= self.config.failures {
                    return Some(self.open(now));
                }
                self.state = State::Closed(in_a_row);
                None
            }
            (State::Closed(_), Signal::Answered | Signal::Refused) => {
                self.state = State::Closed(0);
                None
            }
            (State::Closed(_), Signal::Waiting | Signal::Silent) | (State::Open(_), _) => None,
            (State::HalfOpen { .. }, Signal::Unavailable) => Some(self.open(now)),
            (State::HalfOpen { .. }, Signal::Answered) => Some(self.enter(State::Closed(0))),
            (State::HalfOpen { unharmed, .. }, Signal::Refused | Signal::Waiting) => {
                let unharmed = unharmed.saturating_add(1);
                if unharmed >= self.config.failures {
                    return Some(self.enter(State::Closed(0)));
                }
                self.state = State::HalfOpen {
                    probing: false,
                    unharmed,
                };
                None
            }
            (State::HalfOpen { unharmed, .. }, Signal::Silent) => {
                self.state = State::HalfOpen {
                    probing: false,
                    unharmed,
                };
                None
            }
        }
    }

    fn open(&mut self, now: Instant) -> Change {
        // A cool-down beyond the clock's end is none that a configuration may name.
        let until = now.checked_add(self.config.cooldown).unwrap_or(now);
        self.enter(State::Open(until))
    }

    fn enter(&mut self, next: State) -> Change {
        let change = match (self.state, next) {
            (_, State::Closed(_)) => Change::Closed,
            (_, State::HalfOpen { .. }) => Change::HalfOpened,
            (State::HalfOpen { .. }, State::Open(_)) => Change::Reopened,
            (_, State::Open(_)) => Change::Opened,
        };
        self.state = next;
        self.age += 1;
        change
    }
}

#[cfg(test)]
mod tests;
