use longshore::job::{Failure, JobId};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::gateway::Decline;
use super::ledger::RefundRequest;
use super::payload::ChargePayment;

/// A row of `payments`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) reference: String,
    /// Who asked for it first.
    pub(crate) job: JobId,
    /// SHA-256 of what was asked for, in hexadecimal digits.
    pub(crate) fingerprint: String,
    pub(crate) amount: u64,
    pub(crate) currency: String,
    pub(crate) state: PaymentState,
    /// The only intent that may be confirmed.
    pub(crate) intent: Option<String>,
    pub(crate) charge: Option<String>,
    /// Of the idempotency keys; raised when those of the one before are spent.
    pub(crate) generation: i32,
    /// Why it is refused, or is being closed.
    pub(crate) decline: Option<Decline>,
    /// What `job` had failed before ([`Who::earlier`]) when it was told of the refusal. If that
    /// is more by now, it was sent back by somebody who wants it tried again.
    ///
    /// [`Who::earlier`]: super::run::Who::earlier
    pub(crate) told: Option<i32>,
    /// Raised by every change; a change names the version that it changes.
    pub(crate) version: i32,
}

/// How far a payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PaymentState {
    /// On its way; the intent says how far.
    Open,
    /// The bank was asked and has not answered.
    Processing,
    /// Will be refused as soon as its intent is closed, which is before anybody is told.
    Closing,
    /// Paid.
    Succeeded,
    /// Not paid, and its intent can never be.
    Refused,
}

impl PaymentState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Processing => "processing",
            Self::Closing => "closing",
            Self::Succeeded => "succeeded",
            Self::Refused => "refused",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        [
            Self::Open,
            Self::Processing,
            Self::Closing,
            Self::Succeeded,
            Self::Refused,
        ]
        .into_iter()
        .find(|state| state.as_str() == name)
    }
}

impl Payment {
    /// A payment that nobody has asked for yet.
    pub(crate) fn new(charge: &ChargePayment, job: JobId) -> Self {
        Self {
            reference: charge.reference.clone(),
            job,
            fingerprint: fingerprint(charge),
            amount: charge.amount,
            currency: charge.currency.to_ascii_lowercase(),
            state: PaymentState::Open,
            intent: None,
            charge: None,
            generation: 1,
            decline: None,
            told: None,
            version: 1,
        }
    }

    /// True until it is paid or refused.
    pub(crate) fn is_unfinished(&self) -> bool {
        !matches!(self.state, PaymentState::Succeeded | PaymentState::Refused)
    }

    /// The same, begun anew with what is asked for now. Its intent is closed.
    pub(crate) fn begun_anew(&self, charge: &ChargePayment) -> Self {
        Self {
            generation: self.generation.saturating_add(1),
            version: self.version,
            ..Self::new(charge, self.job)
        }
    }

    /// What the job returns.
    pub(crate) fn result(&self) -> Value {
        json!({
            "reference": self.reference, "status": "succeeded", "amount": self.amount,
            "currency": self.currency, "payment_intent": self.intent, "charge": self.charge,
        })
    }

    /// What the job dies of.
    pub(crate) fn refusal(&self) -> Failure {
        match &self.decline {
            Some(decline) => Failure::permanent(&decline.code, &decline.message),
            None => Failure::permanent("payment_refused", "the payment was refused"),
        }
    }
}

/// The same for the same request, whatever the case of its currency.
fn fingerprint(charge: &ChargePayment) -> String {
    let canonical = ChargePayment {
        currency: charge.currency.to_ascii_lowercase(),
        ..charge.clone()
    };
    // Of maps with text as keys alone: it can always be written.
    let text = serde_json::to_string(&canonical).unwrap_or_default();
    let digest = Sha256::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A row of `refunds`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefundRow {
    pub(crate) job: JobId,
    pub(crate) reference: String,
    pub(crate) amount: u64,
    pub(crate) state: RefundState,
    /// The gateway's id.
    pub(crate) refund: Option<String>,
    /// How often it was begun after a refusal, plus one.
    pub(crate) round: i32,
    /// Of the idempotency keys.
    pub(crate) generation: i32,
    pub(crate) decline: Option<Decline>,
    /// What the job had failed before when this round was begun or refused.
    pub(crate) told: i32,
    /// What was asked for; all that was left, if it was not said.
    pub(crate) asked: Option<u64>,
    pub(crate) version: i32,
}

/// How far a refund is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefundState {
    /// On its way; its amount counts as refunded.
    Open,
    /// Done.
    Succeeded,
    /// The money stayed.
    Refused,
}

impl RefundState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Succeeded => "succeeded",
            Self::Refused => "refused",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Open, Self::Succeeded, Self::Refused]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

impl RefundRow {
    /// A refund of `amount`, which is what was asked for or all that is left.
    pub(crate) fn new(request: &RefundRequest<'_>, amount: u64) -> Self {
        Self {
            job: request.job,
            reference: request.reference.to_owned(),
            amount,
            asked: request.amount,
            state: RefundState::Open,
            refund: None,
            round: 1,
            generation: 1,
            decline: None,
            told: request.earlier,
            version: 1,
        }
    }

    /// The same job's, begun anew after a refusal, with what is asked for now.
    pub(crate) fn begun_anew(&self, request: &RefundRequest<'_>, amount: u64) -> Self {
        Self {
            round: self.round.saturating_add(1),
            generation: self.generation.saturating_add(1),
            version: self.version,
            ..Self::new(request, amount)
        }
    }

    /// True if this is not what the row was made for: the job was edited.
    pub(crate) fn differs_from(&self, request: &RefundRequest<'_>) -> bool {
        self.reference != request.reference
            || match request.amount {
                Some(amount) => amount != self.asked.unwrap_or(self.amount),
                None => self.asked.is_some(),
            }
    }

    /// By what the gateway's refunds of this round are known.
    pub(crate) fn tag(&self) -> String {
        if self.round == 1 {
            self.job.to_string()
        } else {
            format!("{}.{}", self.job, self.round)
        }
    }

    /// What the job dies of.
    pub(crate) fn refusal(&self) -> Failure {
        match &self.decline {
            Some(decline) => Failure::permanent(&decline.code, &decline.message),
            None => Failure::permanent("refund_refused", "the refund was refused"),
        }
    }
}
