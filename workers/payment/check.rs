use std::collections::BTreeMap;

use longshore::worker::Invalid;

use super::currency::Counting;
use super::payload::{ChargePayment, RefundPayment};

/// Twelve digits, the most that the gateway takes in any currency.
const MAX_AMOUNT: u64 = 999_999_999_999;
/// Of a reference, in characters: it is a part of idempotency keys, which have 255.
const MAX_REFERENCE: usize = 200;
/// Of the gateway's ids, in characters.
const MAX_ID: usize = 255;
const MAX_DESCRIPTION: usize = 1000;
/// The gateway keeps 50 keys (<https://docs.stripe.com/api/metadata>); two are ours.
const MAX_METADATA: usize = 48;
const MAX_METADATA_KEY: usize = 40;
const MAX_METADATA_VALUE: usize = 500;
/// What our own keys in the metadata begin with.
const OURS: &str = "longshore_";

impl ChargePayment {
    /// Checks what the type alone cannot say.
    ///
    /// # Errors
    /// Every field that is wrong, with its JSON pointer.
    pub(crate) fn check(&self) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        check_amount(self.amount, Some(&self.currency), &mut wrong);
        check_id("/payment_method", &self.payment_method, &mut wrong);
        if let Some(customer) = &self.customer {
            check_id("/customer", customer, &mut wrong);
        }
        check_reference(&self.reference, &mut wrong);
        if let Some(description) = &self.description {
            check_length("/description", description, MAX_DESCRIPTION, &mut wrong);
        }
        check_metadata(&self.metadata, &mut wrong);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

impl RefundPayment {
    /// Checks what the type alone cannot say.
    ///
    /// # Errors
    /// Every field that is wrong, with its JSON pointer.
    pub(crate) fn check(&self) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        check_reference(&self.reference, &mut wrong);
        if let Some(amount) = self.amount {
            check_amount(amount, None, &mut wrong);
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

fn check_amount(amount: u64, currency: Option<&str>, wrong: &mut Vec<Invalid>) {
    if amount == 0 {
        wrong.push(Invalid::new("/amount", "must be more than 0"));
    } else if amount > MAX_AMOUNT {
        let message = format!("is {amount}; at most {MAX_AMOUNT} can be paid at once");
        wrong.push(Invalid::new("/amount", message));
    }
    let Some(currency) = currency else { return };
    if Counting::of(&currency.to_ascii_lowercase()).is_none() {
        let message =
            format!("`{currency}` is no currency of ISO 4217; write its code, such as `eur`");
        wrong.push(Invalid::new("/currency", message));
        return;
    }
    if let Some(message) = misstep(amount, currency) {
        wrong.push(Invalid::new("/amount", message));
    }
}

/// Why the gateway could not move exactly this amount, if it cannot.
pub(crate) fn misstep(amount: u64, currency: &str) -> Option<String> {
    let counting = Counting::of(&currency.to_ascii_lowercase())?;
    if amount.is_multiple_of(counting.step()) {
        return None;
    }
    let code = currency.to_ascii_uppercase();
    Some(match counting {
        Counting::Thousandths => format!(
            "is {amount}; {code} has three decimals, of which the gateway moves two: the last \
             digit must be 0"
        ),
        _ => format!(
            "is {amount}; {code} has two decimals, but the gateway moves whole units of it: the \
             last two digits must be 00"
        ),
    })
}

fn check_reference(reference: &str, wrong: &mut Vec<Invalid>) {
    if reference.is_empty() {
        wrong.push(Invalid::new(
            "/reference",
            "must not be empty: it is what is charged once",
        ));
    } else if reference.len() > MAX_REFERENCE {
        let message = format!("has {} bytes; at most {MAX_REFERENCE}", reference.len());
        wrong.push(Invalid::new("/reference", message));
    } else if !reference.bytes().all(|b| b.is_ascii_graphic()) {
        wrong.push(Invalid::new(
            "/reference",
            "must be visible ASCII characters without spaces, such as `order-1017`",
        ));
    }
}

fn check_id(pointer: &str, id: &str, wrong: &mut Vec<Invalid>) {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(word) {
        wrong.push(Invalid::new(
            pointer,
            "must be an id of the gateway's: 1 to 255 ASCII letters, digits, `_` and `-`",
        ));
    } else if id.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        // Not shown: what looks like a card number must not spread further.
        wrong.push(Invalid::new(
            pointer,
            "is a number; give the gateway's id (`pm_…`), and never a card number",
        ));
    }
}

fn check_length(pointer: &str, text: &str, max: usize, wrong: &mut Vec<Invalid>) {
    let length = text.chars().count();
    if length > max {
        wrong.push(Invalid::new(
            pointer,
            format!("has {length} characters; at most {max}"),
        ));
    } else if text.contains('\0') {
        wrong.push(Invalid::new(pointer, "holds a NUL character"));
    }
}

fn check_metadata(metadata: &BTreeMap<String, String>, wrong: &mut Vec<Invalid>) {
    if metadata.len() > MAX_METADATA {
        let message = format!("has {} keys; at most {MAX_METADATA}", metadata.len());
        wrong.push(Invalid::new("/metadata", message));
    }
    for (key, value) in metadata {
        let pointer = format!("/metadata/{}", key.replace('~', "~0").replace('/', "~1"));
        if key.is_empty() || key.chars().count() > MAX_METADATA_KEY {
            let message = format!("a key has 1 to {MAX_METADATA_KEY} characters");
            wrong.push(Invalid::new(pointer.as_str(), message));
        } else if key.contains(['[', ']', '\0']) {
            wrong.push(Invalid::new(
                pointer.as_str(),
                "a key has no square brackets and no NUL",
            ));
        } else if key.starts_with(OURS) {
            let message = format!("keys that begin with `{OURS}` are the platform's own");
            wrong.push(Invalid::new(pointer.as_str(), message));
        }
        check_length(&pointer, value, MAX_METADATA_VALUE, wrong);
    }
}

#[cfg(test)]
mod tests;
