use async_trait::async_trait;
use longshore::job::{Done, Failure};
use serde_json::Value;

use super::{Admission, Ledger, RefundRequest, SqlLedger};
use crate::payment::row::{Payment, RefundRow};

/// The tables, for a run whose job goes on when the payment is made: what would end the job is
/// committed without ending it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepLedger<'a>(pub(crate) SqlLedger<'a>);

#[async_trait]
impl Ledger for StepLedger<'_> {
    async fn enter(&self, payment: &Payment) -> Result<Payment, Failure> {
        self.0.enter(payment).await
    }

    async fn change(&self, payment: &Payment) -> Result<bool, Failure> {
        self.0.change(payment).await
    }

    async fn settle(&self, payment: &Payment, result: Value) -> Result<Option<Done>, Failure> {
        match self.0.change(payment).await? {
            true => Done::with(result).map(Some),
            false => Ok(None),
        }
    }

    async fn orphans(&self, limit: i64) -> Result<Vec<Payment>, Failure> {
        self.0.orphans(limit).await
    }

    async fn enter_refund(&self, request: &RefundRequest<'_>) -> Result<Admission, Failure> {
        self.0.enter_refund(request).await
    }

    async fn change_refund(&self, refund: &RefundRow) -> Result<bool, Failure> {
        self.0.change_refund(refund).await
    }

    async fn settle_refund(
        &self,
        refund: &RefundRow,
        result: Value,
    ) -> Result<Option<Done>, Failure> {
        self.0.settle_refund(refund, result).await
    }
}
