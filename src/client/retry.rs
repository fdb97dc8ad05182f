use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::ClientError;
use super::transport::Failure;

/// The longest first pause; each further one may be twice as long.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause that nobody asked for.
const LONGEST: Duration = Duration::from_secs(5);

/// The tries of one call, until its deadline.
#[derive(Debug)]
pub(super) struct Tries {
    began: Instant,
    end: Instant,
    made: u32,
    last: Option<Failure>,
}

impl Tries {
    pub(super) fn new(deadline: Duration) -> Self {
        let began = Instant::now();
        // Beyond any clock: as good as never.
        let far = began + Duration::from_secs(365 * 24 * 3600);
        Self {
            began,
            end: began.checked_add(deadline).unwrap_or(far),
            made: 0,
            last: None,
        }
    }

    /// One try, cut off at the deadline.
    pub(super) async fn bound<T>(
        &mut self,
        attempt: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.made += 1;
        match timeout_at(self.end, attempt).await {
            Ok(answer) => answer,
            // What an earlier try met says more than that the time is over.
            Err(_) => Err(self.last.take().unwrap_or_else(Failure::late)),
        }
    }

    /// Waits before the next try, or tells why there is none.
    pub(super) async fn pause(&mut self, failure: Failure) -> Result<(), ClientError> {
        let (after, last) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Passing { after, .. } => (after, failure),
        };
        let pause = after.unwrap_or_else(|| self.backoff());
        if Instant::now() + pause >= self.end {
            return Err(self.give_up(last));
        }
        tracing::debug!(
            error = %last, pause.seconds = pause.as_secs_f64(), "the intake did not answer; trying again"
        );
        self.last = Some(last);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Doubling, and anywhere in its upper half, so that clients do not come back together.
    fn backoff(&self) -> Duration {
        let doublings = self.made.saturating_sub(1).min(16);
        let most = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        most.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    fn give_up(&self, last: Failure) -> ClientError {
        let text = last.to_string();
        let problem = match last {
            Failure::Passing { problem, .. } => problem,
            Failure::Final(_) => None,
        };
        ClientError::GaveUp {
            tries: self.made,
            took: self.began.elapsed(),
            last: text,
            problem,
        }
    }
}
