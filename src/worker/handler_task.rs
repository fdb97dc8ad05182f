use std::any::Any;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use crate::job::Outcome;

/// How long a handler may take to stop once it is cancelled.
const COURTESY: Duration = Duration::from_secs(1);

type Panic = Box<dyn Any + Send>;
type Work = JoinHandle<Result<Outcome, Panic>>;

/// A handler at work, in a task of its own; aborted when this is dropped.
pub(super) struct HandlerTask {
    work: Work,
    /// Its outcome was taken; a finished task may not be asked again.
    taken: bool,
}

impl HandlerTask {
    pub(super) const fn new(work: Work) -> Self {
        Self { work, taken: false }
    }

    /// How it ends.
    pub(super) async fn ended(&mut self) -> Outcome {
        let ended = (&mut self.work).await;
        self.taken = true;
        outcome(ended)
    }

    pub(super) fn abort(&self) {
        self.work.abort();
    }

    /// Lets a cancelled handler come to a stop of its own, then cuts it off. The end of the run
    /// may be recorded only after that: until then it may still be in the middle of an effect.
    /// A handler that never yields cannot be stopped; waiting for it would hold the slot for
    /// ever, and its late result is refused. Returns how it ended, if it came to an end and
    /// nobody knows yet.
    pub(super) async fn stopped(&mut self) -> Option<Outcome> {
        if self.taken {
            return None;
        }
        if let Ok(ended) = timeout(COURTESY, self.ended()).await {
            return Some(ended);
        }
        self.work.abort();
        let _ = timeout(COURTESY, &mut self.work).await;
        None
    }
}

impl Drop for HandlerTask {
    fn drop(&mut self) {
        self.work.abort();
    }
}

pub(super) fn outcome(ended: Result<Result<Outcome, Panic>, JoinError>) -> Outcome {
    match ended {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Outcome::panicked(&panic_message(panic.as_ref())),
        Err(join) => Outcome::panicked(&join.to_string()),
    }
}

pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the handler panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Done;

    fn after(delay: Duration) -> HandlerTask {
        HandlerTask::new(tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            Ok(Outcome::Success(Done))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_while_it_is_being_stopped_is_told_once() {
        let mut late = after(COURTESY / 2);
        assert_eq!(late.stopped().await, Some(Outcome::Success(Done)));
        assert_eq!(late.stopped().await, None);
        let mut in_time = after(Duration::ZERO);
        assert_eq!(in_time.ended().await, Outcome::Success(Done));
        assert_eq!(in_time.stopped().await, None);
        assert_eq!(after(COURTESY * 2).stopped().await, None);
    }
}
