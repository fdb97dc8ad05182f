use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};

use super::{Gateway, GatewayError, Intent, Order, Refund, RefundOrder};

/// A gateway as one run asks it: what is not answered in time is given up while the run can still
/// tell that it was, however short the queue's timeout is. So a gateway that hangs ends as
/// "unavailable", which counts no attempt, and not as a handler's timeout, which does.
#[derive(Debug)]
pub(crate) struct Punctual<'g> {
    pub(crate) gateway: &'g dyn Gateway,
    /// When the run must begin to tell how it ended.
    pub(crate) until: Instant,
}

impl Punctual<'_> {
    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, GatewayError>>,
    ) -> Result<T, GatewayError> {
        timeout_at(self.until, call).await.unwrap_or_else(|_| {
            let message = "the gateway gave no answer before the run's time was over";
            Err(GatewayError::unanswered("gateway_timeout", message))
        })
    }
}

#[async_trait]
impl Gateway for Punctual<'_> {
    async fn create(&self, order: &Order, key: &str) -> Result<Intent, GatewayError> {
        self.in_time(self.gateway.create(order, key)).await
    }

    async fn confirm(&self, intent: &str, key: &str) -> Result<Intent, GatewayError> {
        self.in_time(self.gateway.confirm(intent, key)).await
    }

    async fn intent(&self, intent: &str) -> Result<Intent, GatewayError> {
        self.in_time(self.gateway.intent(intent)).await
    }

    async fn cancel(&self, intent: &str) -> Result<Intent, GatewayError> {
        self.in_time(self.gateway.cancel(intent)).await
    }

    async fn refund(&self, order: &RefundOrder, key: &str) -> Result<Refund, GatewayError> {
        self.in_time(self.gateway.refund(order, key)).await
    }

    async fn refunds(&self, intent: &str) -> Result<Vec<Refund>, GatewayError> {
        self.in_time(self.gateway.refunds(intent)).await
    }
}
