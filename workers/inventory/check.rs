use std::collections::HashSet;
use std::time::Duration;

use longshore::worker::Invalid;

use super::payload::{AdjustStock, ReserveStock};

/// Most units in one item or adjustment: far from where sums overflow.
const MAX_UNITS: i64 = 1_000_000_000_000;
/// Most items of one order.
const MAX_ITEMS: usize = 500;
/// How long a reservation is kept unless it says so.
const EXPIRES_IN: Duration = Duration::from_secs(30 * 60);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl AdjustStock {
    /// Checks what the type alone cannot say.
    pub(super) fn check(&self) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        check_name("/sku", "a SKU", &self.sku, 100, &mut wrong);
        if self.delta == 0 {
            let message = "0 changes nothing: give the units that are added, or taken away (< 0)";
            wrong.push(Invalid::new("/delta", message));
        } else if !(-MAX_UNITS..=MAX_UNITS).contains(&self.delta) {
            let message = format!("must be from -{MAX_UNITS} to {MAX_UNITS}");
            wrong.push(Invalid::new("/delta", message));
        }
        check_name("/reason", "a reason", &self.reason, 500, &mut wrong);
        all_right(wrong)
    }
}

impl ReserveStock {
    /// Checks what the type alone cannot say.
    pub(super) fn check(&self) -> Result<(), Vec<Invalid>> {
        let mut wrong = Vec::new();
        check_order(&self.order, &mut wrong);
        if self.items.is_empty() || self.items.len() > MAX_ITEMS {
            let count = self.items.len();
            let message = format!("an order has 1 to {MAX_ITEMS} items; these are {count}");
            wrong.push(Invalid::new("/items", message));
        }
        let mut seen = HashSet::new();
        // All of a list that is too long would make an answer that is too long.
        for (index, item) in self.items.iter().take(MAX_ITEMS).enumerate() {
            let sku = format!("/items/{index}/sku");
            if !seen.insert(&item.sku) {
                let message = "this SKU is in the list already: give it once, with the sum";
                wrong.push(Invalid::new(sku, message));
            } else {
                check_name(&sku, "a SKU", &item.sku, 100, &mut wrong);
            }
            if !(1..=MAX_UNITS).contains(&item.quantity) {
                let pointer = format!("/items/{index}/quantity");
                let message = format!("must be from 1 to {MAX_UNITS}");
                wrong.push(Invalid::new(pointer, message));
            }
        }
        if let Err(message) = self.kept_for() {
            wrong.push(Invalid::new("/expires_in", message));
        }
        all_right(wrong)
    }

    /// How long it is kept.
    pub(super) fn kept_for(&self) -> Result<Duration, String> {
        let Some(text) = &self.expires_in else {
            return Ok(EXPIRES_IN);
        };
        match humantime::parse_duration(text) {
            Ok(time) if (SHORTEST..=LONGEST).contains(&time) => Ok(time),
            Ok(_) => Err("must be from `1s` to `365d`".to_owned()),
            Err(error) => Err(format!("must be a duration like `15m` or `2h`: {error}")),
        }
    }
}

/// Checks the name of an order.
pub(super) fn check_order(order: &str, wrong: &mut Vec<Invalid>) {
    check_name("/order", "an order", order, 200, wrong);
}

pub(super) fn all_right(wrong: Vec<Invalid>) -> Result<(), Vec<Invalid>> {
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Spaces around a name, and characters that nobody sees, make two things of what looks like one.
fn check_name(pointer: &str, what: &str, text: &str, longest: usize, wrong: &mut Vec<Invalid>) {
    let message = if text.is_empty() || text.len() > longest {
        format!("{what} is 1 to {longest} bytes of text")
    } else if text.trim() != text {
        format!("{what} has no spaces at its beginning or end")
    } else if text.chars().any(char::is_control) {
        format!("{what} has no control characters")
    } else {
        return;
    };
    wrong.push(Invalid::new(pointer, message));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pointers(found: Result<(), Vec<Invalid>>) -> Vec<String> {
        let wrong = found.err().unwrap_or_default();
        wrong.into_iter().map(|wrong| wrong.pointer).collect()
    }

    fn reserve(payload: Value) -> Vec<String> {
        pointers(
            serde_json::from_value::<ReserveStock>(payload)
                .unwrap()
                .check(),
        )
    }

    fn adjust(payload: Value) -> Vec<String> {
        pointers(
            serde_json::from_value::<AdjustStock>(payload)
                .unwrap()
                .check(),
        )
    }

    #[test]
    fn each_bad_field_of_a_reservation_is_named() {
        let item = json!({"sku": "a", "quantity": 1});
        let many: Vec<Value> = (0..501)
            .map(|n| json!({"sku": format!("sku-{n}"), "quantity": 1}))
            .collect();
        let table = [
            (json!({"order": "o", "items": [item]}), vec![]),
            (
                json!({"order": "o", "items": [item], "expires_in": "90s"}),
                vec![],
            ),
            (json!({"order": "", "items": [item]}), vec!["/order"]),
            (json!({"order": " o", "items": [item]}), vec!["/order"]),
            (json!({"order": "o\u{0}", "items": [item]}), vec!["/order"]),
            (
                json!({"order": "x".repeat(201), "items": [item]}),
                vec!["/order"],
            ),
            (json!({"order": "o", "items": []}), vec!["/items"]),
            (json!({"order": "o", "items": many}), vec!["/items"]),
            (
                json!({"order": "o", "items": [item, item]}),
                vec!["/items/1/sku"],
            ),
            (
                json!({"order": "o", "items": [{"sku": "", "quantity": 0}, {"sku": "b", "quantity": -1}]}),
                vec!["/items/0/sku", "/items/0/quantity", "/items/1/quantity"],
            ),
            (
                json!({"order": "o", "items": [{"sku": "a", "quantity": i64::MAX}]}),
                vec!["/items/0/quantity"],
            ),
            (
                json!({"order": "o", "items": [item], "expires_in": "soon"}),
                vec!["/expires_in"],
            ),
            (
                json!({"order": "o", "items": [item], "expires_in": "0s"}),
                vec!["/expires_in"],
            ),
            (
                json!({"order": "o", "items": [item], "expires_in": "400d"}),
                vec!["/expires_in"],
            ),
        ];
        for (payload, expected) in table {
            assert_eq!(reserve(payload.clone()), expected, "{payload}");
        }
    }

    #[test]
    fn each_bad_field_of_an_adjustment_is_named() {
        let table = [
            (json!({"sku": "a", "delta": -3, "reason": "broken"}), vec![]),
            (
                json!({"sku": "a", "delta": 0, "reason": "r"}),
                vec!["/delta"],
            ),
            (
                json!({"sku": "a", "delta": i64::MIN, "reason": "r"}),
                vec!["/delta"],
            ),
            (
                json!({"sku": "\t", "delta": 1, "reason": ""}),
                vec!["/sku", "/reason"],
            ),
        ];
        for (payload, expected) in table {
            assert_eq!(adjust(payload.clone()), expected, "{payload}");
        }
    }
}
