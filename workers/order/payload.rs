use longshore::worker::{Invalid, Job};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::email::SendEmail;
use crate::inventory::{Item, ReserveStock};
use crate::payment::ChargePayment;

/// An order as a shop sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// Its number, for ever: its reservation and its payment go by it. 1 to 60 characters of
    /// visible ASCII.
    #[schemars(length(min = 1, max = 60))]
    pub(crate) order: String,
    /// What is wanted: 1 to 500 items, each SKU once.
    #[schemars(length(min = 1, max = 500))]
    pub(crate) items: Vec<Item>,
    /// What it costs, in the currency's minor unit.
    #[schemars(range(min = 1, max = 999_999_999_999_u64))]
    pub(crate) amount: u64,
    /// The currency, by its ISO 4217 code.
    #[schemars(length(equal = 3))]
    pub(crate) currency: String,
    /// The gateway's id of how it is paid.
    pub(crate) payment_method: String,
    /// Who gets the receipt, or the apology.
    pub(crate) email: String,
}

/// Sets the goods of an order aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct PlaceOrder(pub(crate) Order);

/// Charges an order whose goods are set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct ChargeOrder(pub(crate) Order);

/// Takes the goods of an order that is paid from the stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct FulfilOrder(pub(crate) Order);

/// Frees the goods of an order that is not paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelOrder {
    /// Which.
    pub(crate) order: Order,
    /// Why, for the customer: the end of a sentence, without its full stop.
    pub(crate) reason: String,
}

impl Order {
    pub(super) fn reservation(&self) -> ReserveStock {
        ReserveStock {
            order: self.order.clone(),
            items: self.items.clone(),
            expires_in: Some("1d".to_owned()),
        }
    }

    pub(super) fn charge(&self) -> ChargePayment {
        ChargePayment {
            amount: self.amount,
            currency: self.currency.clone(),
            payment_method: self.payment_method.clone(),
            customer: None,
            reference: self.order.clone(),
            description: Some(format!("Order {}", self.order)),
            metadata: std::collections::BTreeMap::new(),
        }
    }

    /// A mail about it.
    pub(super) fn mail(&self, subject: String, text: String) -> SendEmail {
        SendEmail {
            to: vec![self.email.clone()],
            subject: Some(subject),
            text: Some(text),
            ..SendEmail::default()
        }
    }

    /// A label of all its jobs.
    pub(crate) fn tag(&self) -> String {
        format!("order:{}", self.order)
    }

    /// What its steps would be refused for, at the first one's door.
    pub(super) fn check(&self) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        if self.order.len() > 60 {
            wrong.push(Invalid::new("/order", "longer than 60 characters"));
        }
        let steps = [
            self.reservation().validate(),
            self.charge().validate(),
            self.mail(String::new(), String::new()).validate(),
        ];
        for found in steps.into_iter().filter_map(Result::err).flatten() {
            let pointer = match found.pointer.as_str() {
                "/reference" => "/order",
                "/to/0" => "/email",
                other => other,
            };
            if !wrong.iter().any(|known: &Invalid| known.pointer == pointer) {
                wrong.push(Invalid::new(pointer, found.message));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    pub(super) fn example() -> Self {
        Self {
            order: "order-1042".to_owned(),
            items: vec![Item {
                sku: "TEA-250".to_owned(),
                quantity: 2,
            }],
            amount: 4200,
            currency: "EUR".to_owned(),
            payment_method: "pm_card_visa".to_owned(),
            email: "Ada Lovelace <ada@example.com>".to_owned(),
        }
    }
}
