//! The payment gateway: Stripe's PaymentIntents, or the built-in sandbox that behaves like it.

mod answer;
mod error;
mod punctual;
mod sandbox;
mod stripe;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

pub(crate) use error::{Advice, GatewayError};
pub(crate) use punctual::Punctual;
pub(crate) use sandbox::Sandbox;
pub(crate) use stripe::Stripe;

/// Moves money. An intent is charged at most once whatever is asked how often and in whichever
/// order: that is what the protocol above builds on.
#[async_trait]
pub(crate) trait Gateway: fmt::Debug + Send + Sync {
    /// Makes an intent, which moves nothing until it is confirmed.
    async fn create(&self, order: &Order, key: &str) -> Result<Intent, GatewayError>;

    /// Charges an intent that awaits it.
    async fn confirm(&self, intent: &str, key: &str) -> Result<Intent, GatewayError>;

    /// The intent as it is now.
    async fn intent(&self, intent: &str) -> Result<Intent, GatewayError>;

    /// Closes an intent that was not charged, for ever; refused when it was, or is just being.
    async fn cancel(&self, intent: &str) -> Result<Intent, GatewayError>;

    /// Gives money back.
    async fn refund(&self, order: &RefundOrder, key: &str) -> Result<Refund, GatewayError>;

    /// All refunds of an intent.
    async fn refunds(&self, intent: &str) -> Result<Vec<Refund>, GatewayError>;
}

/// What is to be charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    /// In the minor unit.
    pub(crate) amount: u64,
    /// ISO 4217, in lower case.
    pub(crate) currency: String,
    pub(crate) payment_method: String,
    pub(crate) customer: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// What is to be given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefundOrder {
    pub(crate) intent: String,
    /// In the minor unit.
    pub(crate) amount: u64,
    /// ISO 4217, in lower case.
    pub(crate) currency: String,
    pub(crate) reason: Option<&'static str>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// A payment as the gateway sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) id: String,
    pub(crate) status: IntentStatus,
    /// In the minor unit.
    pub(crate) amount: u64,
    /// ISO 4217, in lower case.
    pub(crate) currency: String,
    /// The charge that paid it, or that failed last.
    pub(crate) charge: Option<String>,
    /// Why it was declined last.
    pub(crate) decline: Option<Decline>,
}

/// Why a card was not charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decline {
    /// The decline code (`insufficient_funds`), or the error's code where there is none.
    pub(crate) code: String,
    pub(crate) message: String,
}

/// Where an intent stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IntentStatus {
    /// Made, and not yet charged.
    RequiresConfirmation,
    /// Declined.
    RequiresPaymentMethod,
    /// The bank wants to see the customer.
    RequiresAction,
    /// The answer of the bank is awaited.
    Processing,
    /// Paid.
    Succeeded,
    /// Closed, not paid.
    Canceled,
    /// What this program did not ask for.
    Other(String),
}

impl IntentStatus {
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "requires_confirmation" => Self::RequiresConfirmation,
            // `requires_source…` were their names before 2019.
            "requires_payment_method" | "requires_source" => Self::RequiresPaymentMethod,
            "requires_action" | "requires_source_action" => Self::RequiresAction,
            "processing" => Self::Processing,
            "succeeded" => Self::Succeeded,
            "canceled" => Self::Canceled,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Money given back, as the gateway sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refund {
    pub(crate) id: String,
    pub(crate) status: RefundStatus,
    /// In the minor unit.
    pub(crate) amount: u64,
    /// The job that asked for it, if it was one of ours.
    pub(crate) job: Option<String>,
}

/// Where a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefundStatus {
    /// Under way.
    Pending,
    /// Done.
    Succeeded,
    /// Not possible; the money stayed.
    Failed,
}

/// The metadata key under which a payment names its reference.
pub(crate) const REFERENCE: &str = "longshore_reference";
/// The metadata key under which a payment or refund names the job that asked for it first.
pub(crate) const JOB: &str = "longshore_job";
