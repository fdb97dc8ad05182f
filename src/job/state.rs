use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a job stands. The only legal moves are those of [`State::may_become`].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Accepted, to be dispatched at its `run_at`.
    Scheduled,
    /// Dispatched: a message for it is on the broker or about to be.
    Queued,
    /// Claimed by a worker process.
    Running,
    /// Failed or put off; dispatched again when its delay is over.
    Retrying,
    /// Ended well.
    Succeeded,
    /// Ended badly: a dead letter that an operator may requeue.
    Dead,
    /// Ended by request.
    Cancelled,
}

/// What a request to cancel a job leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelling {
    /// The job is cancelled in the same transaction; its message becomes stale.
    AtOnce,
    /// The request is recorded; the job's worker stops the handler. A success or a death that
    /// comes first wins.
    ByItsWorker,
    /// It is cancelled already.
    Already,
    /// It has come to another end.
    TooLate,
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 7] = [
        Self::Scheduled,
        Self::Queued,
        Self::Running,
        Self::Retrying,
        Self::Succeeded,
        Self::Dead,
        Self::Cancelled,
    ];

    /// The whole state machine.
    ///
    /// `Queued → Queued` is absent on purpose: publishing the same dispatch again moves nothing.
    /// `Running → Running` is a takeover: the same process claims anew what it no longer runs.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use State::{Cancelled, Dead, Queued, Retrying, Running, Scheduled, Succeeded};
        matches!(
            (self, next),
            (Scheduled | Retrying, Queued | Cancelled)
                | (Queued, Running | Cancelled)
                | (
                    Running,
                    Succeeded | Retrying | Dead | Cancelled | Queued | Running
                )
                | (Dead | Cancelled, Queued)
        )
    }

    /// True when entering `Queued` from here is a new dispatch, which makes every message of
    /// an older one stale. Leaving `Running` for `Queued` (a rescue, a hand-back) is not: the
    /// run that the message asked for has not come to an end.
    #[must_use]
    pub const fn requeues_as_new_dispatch(self) -> bool {
        matches!(
            self,
            Self::Scheduled | Self::Retrying | Self::Dead | Self::Cancelled
        )
    }

    /// What a request to cancel means for a job that stands here.
    #[must_use]
    pub const fn cancelling(self) -> Cancelling {
        match self {
            Self::Scheduled | Self::Queued | Self::Retrying => Cancelling::AtOnce,
            Self::Running => Cancelling::ByItsWorker,
            Self::Cancelled => Cancelling::Already,
            Self::Succeeded | Self::Dead => Cancelling::TooLate,
        }
    }

    /// True for a job that an operator may send back to its queue.
    #[must_use]
    pub const fn is_requeueable(self) -> bool {
        matches!(self, Self::Dead | Self::Cancelled)
    }

    /// True for a job that has come to its end.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled)
    }

    /// The number the stores keep. Part of the schema: never renumber.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Scheduled => 0,
            Self::Queued => 1,
            Self::Running => 2,
            Self::Retrying => 3,
            Self::Succeeded => 4,
            Self::Dead => 5,
            Self::Cancelled => 6,
        }
    }

    /// The state of a stored number, if it is one.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// The state's name, as in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|s| s.as_str()).collect();
                format!(
                    "`{text}` is not a state; the states are {}",
                    names.join(", ")
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_this_table() {
        use State::*;
        let legal = [
            (Scheduled, Queued),
            (Scheduled, Cancelled),
            (Queued, Running),
            (Queued, Cancelled),
            (Running, Succeeded),
            (Running, Retrying),
            (Running, Dead),
            (Running, Cancelled),
            (Running, Queued),
            (Running, Running),
            (Retrying, Queued),
            (Retrying, Cancelled),
            (Dead, Queued),
            (Cancelled, Queued),
        ];
        for from in State::ALL {
            for to in State::ALL {
                assert_eq!(
                    from.may_become(to),
                    legal.contains(&(from, to)),
                    "{from} → {to}"
                );
            }
        }
    }

    #[test]
    fn success_is_the_end_for_ever() {
        assert!(
            State::ALL
                .iter()
                .all(|next| !State::Succeeded.may_become(*next))
        );
    }

    #[test]
    fn a_dispatch_is_raised_exactly_where_a_run_has_ended_or_not_begun() {
        for state in State::ALL
            .into_iter()
            .filter(|s| s.may_become(State::Queued))
        {
            assert_eq!(state.requeues_as_new_dispatch(), state != State::Running);
        }
    }

    #[test]
    fn cancelling_is_this_table() {
        use State::*;
        for (state, expected) in [
            (Scheduled, Cancelling::AtOnce),
            (Queued, Cancelling::AtOnce),
            (Running, Cancelling::ByItsWorker),
            (Retrying, Cancelling::AtOnce),
            (Succeeded, Cancelling::TooLate),
            (Dead, Cancelling::TooLate),
            (Cancelled, Cancelling::Already),
        ] {
            assert_eq!(state.cancelling(), expected, "{state}");
            let possible = matches!(expected, Cancelling::AtOnce | Cancelling::ByItsWorker);
            assert_eq!(state.may_become(Cancelled), possible, "{state}");
            assert_eq!(
                state.is_requeueable(),
                state.is_final() && state.may_become(Queued)
            );
        }
    }

    #[test]
    fn names_and_codes_round_trip() {
        for state in State::ALL {
            assert_eq!(State::from_code(state.code()), Some(state));
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("done".parse::<State>().unwrap_err().contains("succeeded"));
    }
}
