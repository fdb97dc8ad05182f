use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longshore::config::{SettingError, WorkerSettings};
use longshore::job::{Failure, JobResult};
use longshore::worker::{Attempt, Invalid, Job};

use super::gateway::{Gateway, Punctual, Sandbox, Stripe};
use super::ledger::{Ledger, SqlLedger, StepLedger};
use super::payload::{ChargePayment, RefundPayment, charge_example, refund_example};
use super::run::{Run, Who};

/// What `STRIPE_API_KEY` is for the built-in gateway.
const SANDBOX: &str = "sandbox";
/// How often a process looks at payments whose jobs have ended, in seconds.
const LOOK_EVERY: u64 = 60;
/// What is kept of a run's time to tell how it ended; of a short one, a quarter.
const TO_TELL: Duration = Duration::from_secs(3);

/// Where payments are made: what every payment job works with.
#[derive(Debug)]
pub(crate) struct Cashier {
    gateway: Arc<dyn Gateway>,
    begun: Instant,
    /// In seconds after it was begun: when payments whose jobs have ended are looked at again.
    next_look: AtomicU64,
}

impl Cashier {
    /// The gateway that the settings name.
    ///
    /// # Errors
    /// Every setting that is missing or wrong.
    pub(crate) fn for_jobs(settings: &WorkerSettings) -> Result<Self, Vec<SettingError>> {
        let key = settings
            .require_stripe_api_key()
            .map_err(|error| vec![error])?;
        if key.expose() == SANDBOX {
            let sandbox = Sandbox::in_folder(&settings.data_dir);
            return Ok(Self::new(Arc::new(sandbox)));
        }
        let stripe = Stripe::new(key.clone(), settings.stripe_api_base.as_deref())
            .map_err(|error| vec![SettingError::new("STRIPE_API_BASE", error, "correct it")])?;
        Ok(Self::new(Arc::new(stripe)))
    }

    /// Charges as a step of a job that goes on: as `payment.charge` does, but a success is left
    /// for the job to commit. A run that comes after a crash is told that it is paid.
    ///
    /// # Errors
    /// Those of `payment.charge`, and `payment_refunded`: it was charged, but money of it was given
    /// back or is about to be. A permanent one other than this and `reference_reused` says that
    /// the reference is not charged.
    pub(crate) async fn charge(&self, charge: &ChargePayment, attempt: &Attempt) -> JobResult {
        let ledger = SqlLedger(attempt);
        let step = StepLedger(ledger);
        let gateway = self.punctual(attempt);
        let run = self.run(&gateway, &step, attempt).await;
        let done = run.charge(charge).await?;
        let given_back = ledger.given_back(&charge.reference).await?;
        if given_back > 0 {
            let reference = &charge.reference;
            let message =
                format!("of the payment `{reference}`, {given_back} is given back or about to be");
            return Err(Failure::permanent("payment_refunded", message));
        }
        Ok(done)
    }

    fn new(gateway: Arc<dyn Gateway>) -> Self {
        Self {
            gateway,
            begun: Instant::now(),
            next_look: AtomicU64::new(0),
        }
    }

    /// Whether this run is to learn what has become of others' payments. One of a process each
    /// minute is; with no other payments there is nobody who waits for them.
    fn looks_around(&self) -> bool {
        let now = self.begun.elapsed().as_secs();
        let next = self.next_look.load(Ordering::Relaxed);
        let then = now.saturating_add(LOOK_EVERY);
        let (relaxed, look) = (Ordering::Relaxed, &self.next_look);
        now >= next && look.compare_exchange(next, then, relaxed, relaxed).is_ok()
    }

    /// The gateway, as far as this run has time for it.
    fn punctual(&self, attempt: &Attempt) -> Punctual<'_> {
        let deadline = attempt.deadline();
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        Punctual {
            gateway: &*self.gateway,
            until: deadline - TO_TELL.min(left / 4),
        }
    }

    /// A run of a job that may move money.
    async fn run<'a>(
        &self,
        gateway: &'a Punctual<'_>,
        ledger: &'a dyn Ledger,
        attempt: &'a Attempt,
    ) -> Run<'a> {
        let run = Run {
            gateway,
            ledger,
            who: Who::of(attempt),
            cancelled: attempt.cancelled(),
        };
        if self.looks_around() {
            self.catch_up(run, attempt).await;
        }
        run
    }

    /// With a quarter of the run's time: its own work comes after it.
    async fn catch_up(&self, run: Run<'_>, attempt: &Attempt) {
        let now = tokio::time::Instant::now();
        let left = attempt.deadline().saturating_duration_since(now);
        let brief = Punctual {
            gateway: &*self.gateway,
            until: now + left / 4,
        };
        let brief = Run {
            gateway: &brief,
            ..run
        };
        if let Err(failure) = brief.catch_up().await {
            let error = failure.error();
            tracing::warn!(
                error.code = error.code,
                error.message = error.message,
                "payments whose jobs have ended could not be looked at"
            );
        }
    }
}

impl Job for ChargePayment {
    const KIND: &'static str = "payment.charge";
    type Context = Cashier;

    fn validate(&self) -> Result<(), Vec<Invalid>> {
        self.check()
    }

    fn example() -> Option<Self> {
        Some(charge_example())
    }

    async fn run(self, cashier: &Cashier, attempt: &Attempt) -> JobResult {
        let ledger = SqlLedger(attempt);
        let gateway = cashier.punctual(attempt);
        let run = cashier.run(&gateway, &ledger, attempt).await;
        run.charge(&self).await
    }
}

impl Job for RefundPayment {
    const KIND: &'static str = "payment.refund";
    type Context = Cashier;

    fn validate(&self) -> Result<(), Vec<Invalid>> {
        self.check()
    }

    fn example() -> Option<Self> {
        Some(refund_example())
    }

    async fn run(self, cashier: &Cashier, attempt: &Attempt) -> JobResult {
        let ledger = SqlLedger(attempt);
        let gateway = cashier.punctual(attempt);
        let run = cashier.run(&gateway, &ledger, attempt).await;
        run.refund(&self).await
    }
}
