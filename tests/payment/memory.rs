use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use longshore::job::{Done, Failure, JobId};
use serde_json::Value;

use crate::payment::{Admission, Ledger, Payment, RefundRequest, RefundRow, RefundState, admit};

/// The tables, and who owns each job now.
#[derive(Debug, Default)]
pub struct Books {
    pub payments: HashMap<String, Payment>,
    pub refunds: HashMap<JobId, RefundRow>,
    epochs: HashMap<JobId, u32>,
    pub succeeded: HashMap<JobId, Value>,
    /// Jobs that came to another end than success.
    pub ended: HashSet<JobId>,
    /// The column of that name, by reference.
    pub refunded: HashMap<String, u64>,
}

/// A ledger in memory, held to the same contract as the one in the database: every change is
/// fenced by the claim and names its version.
#[derive(Debug, Clone)]
pub struct MemoryLedger {
    books: Arc<Mutex<Books>>,
    job: JobId,
    epoch: u32,
}

impl MemoryLedger {
    /// A new claim of the job: whoever had it before is fenced off.
    pub fn claim(books: &Arc<Mutex<Books>>, job: JobId) -> Self {
        let mut held = books.lock().unwrap();
        let epoch = held.epochs.entry(job).or_default();
        *epoch += 1;
        let epoch = *epoch;
        held.ended.remove(&job);
        Self {
            epoch,
            books: books.clone(),
            job,
        }
    }

    fn fenced(&self) -> Result<MutexGuard<'_, Books>, Failure> {
        let books = self.books.lock().unwrap();
        let ended = !books.alive(self.job);
        if ended || books.epochs[&self.job] != self.epoch {
            return Err(Failure::retry("claim_lost", "not this run's any more"));
        }
        Ok(books)
    }
}

impl Books {
    fn alive(&self, job: JobId) -> bool {
        !self.ended.contains(&job) && !self.succeeded.contains_key(&job)
    }
}

fn write(books: &mut Books, payment: &Payment) -> bool {
    let row = books.payments.get_mut(&payment.reference).unwrap();
    if row.version != payment.version {
        return false;
    }
    *row = Payment {
        version: payment.version + 1,
        ..payment.clone()
    };
    true
}

fn write_refund(books: &mut Books, refund: &RefundRow) -> bool {
    let row = books.refunds.get_mut(&refund.job).unwrap();
    if row.version != refund.version {
        return false;
    }
    *row = RefundRow {
        version: refund.version + 1,
        ..refund.clone()
    };
    true
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn enter(&self, payment: &Payment) -> Result<Payment, Failure> {
        let mut books = self.fenced()?;
        let row = books.payments.entry(payment.reference.clone());
        Ok(row.or_insert_with(|| payment.clone()).clone())
    }

    async fn change(&self, payment: &Payment) -> Result<bool, Failure> {
        Ok(write(&mut *self.fenced()?, payment))
    }

    async fn settle(&self, payment: &Payment, result: Value) -> Result<Option<Done>, Failure> {
        let mut books = self.fenced()?;
        if !write(&mut books, payment) {
            return Ok(None);
        }
        books.succeeded.insert(self.job, result.clone());
        Done::with(result).map(Some)
    }

    async fn orphans(&self, _limit: i64) -> Result<Vec<Payment>, Failure> {
        let books = self.fenced()?;
        let orphaned =
            |row: &&Payment| row.is_unfinished() && row.intent.is_some() && !books.alive(row.job);
        Ok(books.payments.values().filter(orphaned).cloned().collect())
    }

    async fn enter_refund(&self, request: &RefundRequest<'_>) -> Result<Admission, Failure> {
        let mut books = self.fenced()?;
        let Some(payment) = books.payments.get(request.reference).cloned() else {
            return Ok(Admission::Unknown);
        };
        let existing = books.refunds.get(&request.job).cloned();
        let taken = books
            .refunds
            .values()
            .filter(|row| row.job != request.job && row.reference == request.reference)
            .filter(|row| row.state != RefundState::Refused)
            .map(|row| row.amount)
            .sum();
        let alive = books.alive(payment.job);
        let admission = admit(payment, existing.clone(), taken, alive, request);
        if let Admission::Entered(payment, mut row) = admission {
            if existing.as_ref() != Some(&row) {
                row.version += i32::from(existing.is_some());
                books.refunds.insert(row.job, row.clone());
            }
            return Ok(Admission::Entered(payment, row));
        }
        Ok(admission)
    }

    async fn change_refund(&self, refund: &RefundRow) -> Result<bool, Failure> {
        Ok(write_refund(&mut *self.fenced()?, refund))
    }

    async fn settle_refund(
        &self,
        refund: &RefundRow,
        result: Value,
    ) -> Result<Option<Done>, Failure> {
        let mut books = self.fenced()?;
        if !write_refund(&mut books, refund) {
            return Ok(None);
        }
        *books.refunded.entry(refund.reference.clone()).or_default() += refund.amount;
        books.succeeded.insert(self.job, result.clone());
        Done::with(result).map(Some)
    }
}
