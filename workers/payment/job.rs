use std::sync::Arc;

use longshore::config::{SettingError, WorkerSettings};
use longshore::job::JobResult;
use longshore::worker::{Attempt, Invalid, Job};

use super::gateway::{Gateway, Sandbox, Stripe};
use super::ledger::{SqlLedger, StepLedger};
use super::payload::{ChargePayment, RefundPayment, charge_example, refund_example};
use super::run::{Run, Who};

/// What `STRIPE_API_KEY` is for the built-in gateway.
const SANDBOX: &str = "sandbox";

/// Where payments are made: what every payment job works with.
#[derive(Debug, Clone)]
pub(crate) struct Cashier {
    gateway: Arc<dyn Gateway>,
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
    /// Those of `payment.charge`. A permanent one other than `reference_reused` says that the
    /// reference is not charged.
    pub(crate) async fn charge(&self, charge: &ChargePayment, attempt: &Attempt) -> JobResult {
        let run = Run {
            gateway: &*self.gateway,
            ledger: &StepLedger(SqlLedger(attempt)),
            who: Who::of(attempt),
        };
        run.charge(charge).await
    }

    fn new(gateway: Arc<dyn Gateway>) -> Self {
        Self { gateway }
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
        let run = Run {
            gateway: &*cashier.gateway,
            ledger: &SqlLedger(attempt),
            who: Who::of(attempt),
        };
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
        let run = Run {
            gateway: &*cashier.gateway,
            ledger: &SqlLedger(attempt),
            who: Who::of(attempt),
        };
        run.refund(&self).await
    }
}
