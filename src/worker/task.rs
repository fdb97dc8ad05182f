use std::time::Duration;

use crate::job::Outcome;

/// How long a handler may take to stop once it is cancelled.
const COURTESY: Duration = Duration::from_secs(1);

pub(super) fn outcome(ended: Result<Result<Outcome, Panic>, tokio::task::JoinError>) -> Outcome {
    match ended {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Outcome::panicked(&panic_message(panic.as_ref())),
        Err(join) => Outcome::panicked(&join.to_string()),
    }
}

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the handler panicked".to_owned())
}

pub(super) type Panic = Box<dyn std::any::Any + Send>;
pub(super) type Work = tokio::task::JoinHandle<Result<Outcome, Panic>>;

/// A handler at work; aborted when it is dropped.
pub(super) struct AbortOnDrop(pub(super) Work);

impl AbortOnDrop {
    /// Lets a cancelled handler come to a stop of its own, then cuts it off. The end of the run
    /// may be recorded only after that: until then it may still be in the middle of an effect.
    /// A handler that never yields cannot be stopped; waiting for it would hold the slot for
    /// ever, and its late result is refused.
    pub(super) async fn stopped(&mut self) {
        if self.0.is_finished() {
            return;
        }
        if tokio::time::timeout(COURTESY, &mut self.0).await.is_err() {
            self.0.abort();
            let _ = tokio::time::timeout(COURTESY, &mut self.0).await;
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
