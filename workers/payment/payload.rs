use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A charge of a card. A `reference` is charged at most once, ever: what is submitted again with
/// the same fields gets the same result, and with others it is refused (`reference_reused`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = charge_example())]
pub(crate) struct ChargePayment {
    /// How much, in the currency's minor unit: 4200 is 42.00 EUR, and 4200 JPY is 4,200 yen.
    #[schemars(range(min = 1, max = 999_999_999_999_u64))]
    pub(crate) amount: u64,
    /// The currency, by its ISO 4217 code, in either case.
    #[schemars(length(equal = 3))]
    pub(crate) currency: String,
    /// The gateway's id of how it is paid: `pm_…`. Never a card number.
    pub(crate) payment_method: String,
    /// The gateway's id of the customer that the payment method belongs to: `cus_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) customer: Option<String>,
    /// What is paid for: an order's number, say. 1 to 200 characters of visible ASCII.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) reference: String,
    /// For people who look at the payment at the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub(crate) description: Option<String>,
    /// Kept with the payment at the gateway: at most 48 keys of at most 40 characters without
    /// brackets, and values of at most 500.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
}

/// A refund of a charge, of all that is left of it or of a part. One job makes one refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = refund_example())]
pub(crate) struct RefundPayment {
    /// The reference of the charge.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) reference: String,
    /// How much, in the currency's minor unit; all that is not yet refunded unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 999_999_999_999_u64))]
    pub(crate) amount: Option<u64>,
    /// Why, in the gateway's terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<RefundReason>,
}

/// Why a charge is refunded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RefundReason {
    /// It was charged twice.
    Duplicate,
    /// It was not the card's owner who paid.
    Fraudulent,
    /// The customer wants the money back.
    RequestedByCustomer,
}

impl RefundReason {
    /// As the gateway writes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Fraudulent => "fraudulent",
            Self::RequestedByCustomer => "requested_by_customer",
        }
    }
}

/// A payload that shows what there is.
pub(crate) fn charge_example() -> ChargePayment {
    ChargePayment {
        amount: 4200,
        currency: "eur".to_owned(),
        payment_method: "pm_card_visa".to_owned(),
        customer: None,
        reference: "order-1017".to_owned(),
        description: Some("Order 1017".to_owned()),
        metadata: BTreeMap::from([("shop".to_owned(), "harbour".to_owned())]),
    }
}

/// A payload that shows what there is.
pub(crate) fn refund_example() -> RefundPayment {
    RefundPayment {
        reference: "order-1017".to_owned(),
        amount: Some(1000),
        reason: Some(RefundReason::RequestedByCustomer),
    }
}
