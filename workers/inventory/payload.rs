use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Changes what is on hand of a SKU: goods that came in, were lost, or were counted. The first
/// one creates the SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdjustStock {
    /// What it is: 1 to 100 bytes.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) sku: String,
    /// Units that are added; negative ones are taken away, as far as they are not reserved.
    /// Not 0.
    #[schemars(range(min = -1_000_000_000_000_i64, max = 1_000_000_000_000_i64))]
    pub(crate) delta: i64,
    /// Why, for whoever reads the movements: 1 to 500 bytes.
    #[schemars(length(min = 1, max = 500))]
    pub(crate) reason: String,
}

/// Sets units aside for an order: all items, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReserveStock {
    /// Whose they are: 1 to 200 bytes. The same order again with the same items changes nothing.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) order: String,
    /// 1 to 500 items, each SKU once.
    #[schemars(length(min = 1, max = 500))]
    pub(crate) items: Vec<Item>,
    /// How long they are kept for it, from `1s` to `365d`; `30m` if it is not given. Then they
    /// are free for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_in: Option<String>,
}

/// Takes what was reserved for an order from the stock: it has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommitStock {
    /// The order, as it was reserved.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) order: String,
}

/// Frees what was reserved for an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseStock {
    /// The order, as it was reserved.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) order: String,
}

/// Units of one SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    /// What it is: 1 to 100 bytes.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) sku: String,
    /// How many: 1 to 10¹².
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub(crate) quantity: i64,
}

pub(super) fn adjust_example() -> AdjustStock {
    AdjustStock {
        sku: "TEA-250".to_owned(),
        delta: 40,
        reason: "delivery 2026-118".to_owned(),
    }
}

pub(super) fn reserve_example() -> ReserveStock {
    let item = |sku: &str, quantity| Item {
        sku: sku.to_owned(),
        quantity,
    };
    ReserveStock {
        order: "order-1042".to_owned(),
        items: vec![item("TEA-250", 2), item("POT-1", 1)],
        expires_in: Some("30m".to_owned()),
    }
}

pub(super) fn commit_example() -> CommitStock {
    CommitStock {
        order: "order-1042".to_owned(),
    }
}

pub(super) fn release_example() -> ReleaseStock {
    ReleaseStock {
        order: "order-1042".to_owned(),
    }
}
