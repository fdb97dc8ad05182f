use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use longshore::job::{Done, Failure};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::payment::{
    Admission, Advice, Gateway, GatewayError, Intent, Ledger, Order, Payment, Refund, RefundOrder,
    RefundRequest, RefundRow,
};

/// What goes wrong at a call of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// The call never arrives.
    LostRequest,
    /// It is done, and nobody hears of it.
    LostAnswer,
    /// This status, and nothing is done.
    Status(u16),
    /// This status, and it is done all the same.
    DoneWith(u16),
    /// This status, nothing is done, and `Stripe-Should-Retry: false`.
    Never(u16),
}

/// Decides what becomes of a run. Every call of ledger and gateway has two points: before it, and
/// between its effect and the caller's knowing.
#[derive(Debug, Default)]
pub struct Fate {
    points: AtomicUsize,
    calls: AtomicUsize,
    /// The process dies, or freezes, at this point.
    pub stop_at: Option<usize>,
    /// Fires when it has.
    pub stopped: CancellationToken,
    /// A frozen one goes on when this fires.
    pub thaw: CancellationToken,
    /// What happens at the gateway's call of this number.
    pub mishap: Option<(usize, Mishap)>,
    /// The ledger's call of this number is done, and its answer lost.
    pub lost_commit: Option<usize>,
    commits: AtomicUsize,
    /// Fires when the run is to stop.
    pub cancelled: CancellationToken,
    /// What happens at every call of this name.
    pub always: Option<(&'static str, Mishap)>,
}

impl Fate {
    pub fn kind() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub fn stopping_at(point: usize) -> Arc<Self> {
        Arc::new(Self {
            stop_at: Some(point),
            ..Self::default()
        })
    }

    pub fn mishap_at(call: usize, mishap: Mishap) -> Arc<Self> {
        Arc::new(Self {
            mishap: Some((call, mishap)),
            ..Self::default()
        })
    }

    pub fn always(name: &'static str, mishap: Mishap) -> Arc<Self> {
        Arc::new(Self {
            always: Some((name, mishap)),
            ..Self::default()
        })
    }

    pub fn losing_commit(call: usize) -> Arc<Self> {
        Arc::new(Self {
            lost_commit: Some(call),
            ..Self::default()
        })
    }

    /// Dies or freezes at this point, and is told this at every call of that name.
    pub fn stopping_amid(point: usize, name: &'static str, mishap: Mishap) -> Arc<Self> {
        Arc::new(Self {
            stop_at: Some(point),
            always: Some((name, mishap)),
            ..Self::default()
        })
    }

    async fn point(&self) {
        if self.stop_at == Some(self.points.fetch_add(1, Ordering::SeqCst)) {
            self.stopped.cancel();
            self.thaw.cancelled().await;
        }
    }

    fn loses(&self) -> bool {
        self.lost_commit == Some(self.commits.fetch_add(1, Ordering::SeqCst))
    }

    fn mishap(&self, name: &str) -> Option<Mishap> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let once = self.mishap.filter(|(at, _)| *at == call);
        let always = self.always.filter(|(at, _)| *at == name);
        once.map(|(_, mishap)| mishap)
            .or(always.map(|(_, mishap)| mishap))
    }
}

fn error(mishap: Mishap) -> GatewayError {
    let (status, advice) = match mishap {
        Mishap::LostRequest | Mishap::LostAnswer => {
            return GatewayError::unanswered("gateway_cut", "cut by the test");
        }
        Mishap::Never(status) => (status, Advice::Permanent),
        Mishap::Status(status) | Mishap::DoneWith(status) => (
            status,
            match status {
                409 | 429 => Advice::Retry,
                401 | 403 | 500.. => Advice::Unavailable,
                _ => Advice::Permanent,
            },
        ),
    };
    GatewayError {
        code: format!("http_{status}"),
        message: "made up by the test".to_owned(),
        advice,
        status: Some(status),
        after: Some(Duration::from_secs(1)),
        replayed: false,
    }
}

/// A gateway on a line of this fate.
#[derive(Debug)]
pub struct Line {
    pub gateway: Arc<dyn Gateway>,
    pub fate: Arc<Fate>,
}

/// A call with its two points and its mishap.
macro_rules! call {
    ($self:ident, $name:literal, $call:expr) => {{
        $self.fate.point().await;
        let mishap = $self.fate.mishap($name);
        let answer = match mishap {
            Some(mishap @ (Mishap::LostRequest | Mishap::Status(_) | Mishap::Never(_))) => {
                Err(error(mishap))
            }
            Some(mishap) => {
                let _ = $call.await;
                Err(error(mishap))
            }
            None => $call.await,
        };
        $self.fate.point().await;
        answer
    }};
}

#[async_trait]
impl Gateway for Line {
    async fn create(&self, order: &Order, key: &str) -> Result<Intent, GatewayError> {
        call!(self, "create", self.gateway.create(order, key))
    }

    async fn confirm(&self, intent: &str, key: &str) -> Result<Intent, GatewayError> {
        call!(self, "confirm", self.gateway.confirm(intent, key))
    }

    async fn intent(&self, intent: &str) -> Result<Intent, GatewayError> {
        call!(self, "intent", self.gateway.intent(intent))
    }

    async fn cancel(&self, intent: &str) -> Result<Intent, GatewayError> {
        call!(self, "cancel", self.gateway.cancel(intent))
    }

    async fn refund(&self, order: &RefundOrder, key: &str) -> Result<Refund, GatewayError> {
        call!(self, "refund", self.gateway.refund(order, key))
    }

    async fn refunds(&self, intent: &str) -> Result<Vec<Refund>, GatewayError> {
        call!(self, "refunds", self.gateway.refunds(intent))
    }
}

/// A ledger in a process of this fate.
pub struct Desk<L> {
    pub ledger: L,
    pub fate: Arc<Fate>,
}

macro_rules! step {
    ($self:ident, $call:expr) => {{
        $self.fate.point().await;
        let answer = $call.await;
        $self.fate.point().await;
        if $self.fate.loses() {
            return Err(Failure::unavailable(
                "database_unavailable",
                "cut by the test",
            ));
        }
        answer
    }};
}

#[async_trait]
impl<L: Ledger> Ledger for Desk<L> {
    async fn enter(&self, payment: &Payment) -> Result<Payment, Failure> {
        step!(self, self.ledger.enter(payment))
    }

    async fn change(&self, payment: &Payment) -> Result<bool, Failure> {
        step!(self, self.ledger.change(payment))
    }

    async fn settle(&self, payment: &Payment, result: Value) -> Result<Option<Done>, Failure> {
        step!(self, self.ledger.settle(payment, result))
    }

    async fn orphans(&self, limit: i64) -> Result<Vec<Payment>, Failure> {
        step!(self, self.ledger.orphans(limit))
    }

    async fn enter_refund(&self, request: &RefundRequest<'_>) -> Result<Admission, Failure> {
        step!(self, self.ledger.enter_refund(request))
    }

    async fn change_refund(&self, refund: &RefundRow) -> Result<bool, Failure> {
        step!(self, self.ledger.change_refund(refund))
    }

    async fn settle_refund(
        &self,
        refund: &RefundRow,
        result: Value,
    ) -> Result<Option<Done>, Failure> {
        step!(self, self.ledger.settle_refund(refund, result))
    }
}
