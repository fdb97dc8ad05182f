use longshore::job::{Failure, JobResult};
use longshore::store::StoreError;
use longshore::worker::{Attempt, Invalid, Job};

use super::check::{all_right, check_order};
use super::payload::{
    AdjustStock, CommitStock, ReleaseStock, ReserveStock, adjust_example, commit_example,
    release_example, reserve_example,
};
use super::work::{Request, Stop, perform};

/// How often a transaction is begun anew that met a deadlock. None is known: locks are taken in
/// one order.
const TRIES: u32 = 5;

impl Job for AdjustStock {
    const KIND: &'static str = "inventory.adjust";
    type Context = ();

    fn validate(&self) -> Result<(), Vec<Invalid>> {
        self.check()
    }

    fn example() -> Option<Self> {
        Some(adjust_example())
    }

    async fn run(self, (): &(), attempt: &Attempt) -> JobResult {
        run(Request::Adjust(&self), attempt).await
    }
}

impl Job for ReserveStock {
    const KIND: &'static str = "inventory.reserve";
    type Context = ();

    fn validate(&self) -> Result<(), Vec<Invalid>> {
        self.check()
    }

    fn example() -> Option<Self> {
        Some(reserve_example())
    }

    async fn run(self, (): &(), attempt: &Attempt) -> JobResult {
        run(Request::Reserve(&self), attempt).await
    }
}

impl Job for CommitStock {
    const KIND: &'static str = "inventory.commit";
    type Context = ();

    fn validate(&self) -> Result<(), Vec<Invalid>> {
        order_is_valid(&self.order)
    }

    fn example() -> Option<Self> {
        Some(commit_example())
    }

    async fn run(self, (): &(), attempt: &Attempt) -> JobResult {
        run(Request::Commit(&self.order), attempt).await
    }
}

impl Job for ReleaseStock {
    const KIND: &'static str = "inventory.release";
    type Context = ();

    fn validate(&self) -> Result<(), Vec<Invalid>> {
        order_is_valid(&self.order)
    }

    fn example() -> Option<Self> {
        Some(release_example())
    }

    async fn run(self, (): &(), attempt: &Attempt) -> JobResult {
        run(Request::Release(&self.order), attempt).await
    }
}

fn order_is_valid(order: &str) -> Result<(), Vec<Invalid>> {
    let mut wrong = Vec::new();
    check_order(order, &mut wrong);
    all_right(wrong)
}

/// The change and the job's success are one commit: a job that runs again finds that it has
/// succeeded, or that nothing of it was done.
async fn run(request: Request<'_>, attempt: &Attempt) -> JobResult {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut tx = attempt.transaction().await?;
        match perform(tx.connection(), attempt.job_id(), request).await {
            Ok(result) => return tx.succeed(result).await,
            Err(Stop::Refused(refusal)) => {
                tx.roll_back().await;
                return Err(Failure::permanent(&refusal.code(), refusal));
            }
            Err(Stop::Freed) => {
                tx.commit().await?;
                tries = 0;
            }
            Err(Stop::Database(error)) => {
                let error = tx.error(error);
                tx.roll_back().await;
                if tries == TRIES || !matches!(error, StoreError::Contention(_)) {
                    return Err(Failure::from_store(&error));
                }
            }
        }
    }
}
