//! What becomes of the stock: pure decisions over rows that are locked.

use std::collections::BTreeMap;
use std::fmt;

use super::payload::Item;

/// Most units of a SKU on hand: what every reader of JSON can hold (2⁵³ − 1).
pub(super) const MOST_ON_HAND: i64 = 9_007_199_254_740_991;

/// What is there of a SKU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) on_hand: i64,
    pub(super) reserved: i64,
}

impl Level {
    pub(super) const fn available(self) -> i64 {
        self.on_hand - self.reserved
    }
}

/// What is there of each SKU that is known and locked.
pub(super) type Levels = BTreeMap<String, Level>;

/// How a line of an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineState {
    Open,
    Committed,
    Released,
    Expired,
}

impl LineState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }

    /// The state of a stored name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Open, Self::Committed, Self::Released, Self::Expired]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// Units of a SKU that were set aside for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) order: String,
    pub(super) sku: String,
    pub(super) quantity: i64,
    pub(super) state: LineState,
    /// Its time is over, whether or not somebody has taken note.
    pub(super) overdue: bool,
}

/// A change of one SKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Movement {
    pub(super) sku: String,
    pub(super) kind: &'static str,
    pub(super) order: Option<String>,
    pub(super) on_hand: i64,
    pub(super) reserved: i64,
}

impl Movement {
    fn of(line: &Line, kind: &'static str, on_hand: i64) -> Self {
        Self {
            sku: line.sku.clone(),
            kind,
            order: Some(line.order.clone()),
            on_hand,
            reserved: -line.quantity,
        }
    }

    /// A reservation whose time is over.
    pub(super) fn expiry(line: &Line) -> Self {
        Self::of(line, "expire", 0)
    }
}

/// Why a job cannot be done, now or later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    UnknownSku(Vec<String>),
    UnknownOrder(String),
    Insufficient(Vec<Shortage>),
    /// On hand would be more than [`MOST_ON_HAND`].
    Overflow(String),
    /// The order is reserved already, with other items.
    OrderExists(String),
    /// The order's reservation has come to this end.
    Ended(String, &'static str),
}

/// A SKU of which there is not enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) sku: String,
    pub(crate) requested: i64,
    pub(crate) available: i64,
}

impl Refusal {
    pub(super) fn code(&self) -> String {
        match self {
            Self::UnknownSku(_) => "unknown_sku".to_owned(),
            Self::UnknownOrder(_) => "unknown_order".to_owned(),
            Self::Insufficient(_) => "insufficient_stock".to_owned(),
            Self::Overflow(_) => "stock_overflow".to_owned(),
            Self::OrderExists(_) => "order_exists".to_owned(),
            Self::Ended(_, end) => format!("reservation_{end}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownSku(skus) => write!(f, "no such SKU: {}", skus.join(", ")),
            Self::UnknownOrder(order) => write!(f, "nothing was ever reserved for order {order}"),
            Self::Insufficient(shortages) => {
                let each = shortages.iter().map(|short| {
                    let (wanted, there) = (short.requested, short.available);
                    let missing = wanted - there;
                    let sku = &short.sku;
                    format!("{sku}: requested {wanted}, available {there}, missing {missing}")
                });
                f.write_str(&each.collect::<Vec<_>>().join("; "))
            }
            Self::Overflow(sku) => write!(f, "{sku}: more than {MOST_ON_HAND} on hand"),
            Self::OrderExists(order) => write!(
                f,
                "order {order} is reserved with other items: release it first"
            ),
            Self::Ended(order, end) => write!(f, "the reservation of order {order} is {end}"),
        }
    }
}

/// What an order's lines amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    New,
    Open,
    Ended(LineState),
}

/// An order's lines go through `open` to one end together, but for expiry, which takes note of
/// them one by one: an order of which anything is overdue or expired is expired.
pub(super) fn standing(lines: &[Line]) -> Standing {
    let any = |state| lines.iter().any(|line| line.state == state);
    let overdue = |line: &Line| line.state == LineState::Open && line.overdue;
    if lines.is_empty() {
        Standing::New
    } else if any(LineState::Expired) || lines.iter().any(overdue) {
        Standing::Ended(LineState::Expired)
    } else if any(LineState::Open) {
        Standing::Open
    } else if any(LineState::Committed) {
        Standing::Ended(LineState::Committed)
    } else {
        Standing::Ended(LineState::Released)
    }
}

/// What to do about a job: nothing, because it is done; or these movements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    Already,
    Move(Vec<Movement>),
}

/// Whether a reservation has to be made. `Some(Already)`: the order has it, perhaps committed by
/// now; `None`: it is to be made, anew if an earlier one was released or has expired.
pub(super) fn repeated(
    order: &str,
    items: &[Item],
    lines: &[Line],
) -> Result<Option<Plan>, Refusal> {
    match standing(lines) {
        Standing::Open | Standing::Ended(LineState::Committed) => {
            let same = lines.len() == items.len()
                && items.iter().all(|item| {
                    let is = |line: &Line| line.sku == item.sku && line.quantity == item.quantity;
                    lines.iter().any(is)
                });
            if same {
                Ok(Some(Plan::Already))
            } else {
                Err(Refusal::OrderExists(order.to_owned()))
            }
        }
        Standing::New | Standing::Ended(_) => Ok(None),
    }
}

/// Sets all items aside, or none. `levels` are those after expiry.
pub(super) fn reserve(order: &str, items: &[Item], levels: &Levels) -> Result<Plan, Refusal> {
    let unknown: Vec<String> = items
        .iter()
        .filter(|item| !levels.contains_key(&item.sku))
        .map(|item| item.sku.clone())
        .collect();
    if !unknown.is_empty() {
        return Err(Refusal::UnknownSku(unknown));
    }
    let short: Vec<Shortage> = items
        .iter()
        .filter_map(|item| shortage(item, levels.get(&item.sku)?.available()))
        .collect();
    if !short.is_empty() {
        return Err(Refusal::Insufficient(short));
    }
    let movement = |item: &Item| Movement {
        sku: item.sku.clone(),
        kind: "reserve",
        order: Some(order.to_owned()),
        on_hand: 0,
        reserved: item.quantity,
    };
    Ok(Plan::Move(items.iter().map(movement).collect()))
}

/// The SKUs of which there is less than is wanted.
pub(super) fn short<'i>(wanted: &'i [Item], levels: &Levels) -> Vec<&'i str> {
    let lacking = |item: &&Item| {
        let level = levels.get(&item.sku);
        level.is_some_and(|level| item.quantity > level.available())
    };
    wanted
        .iter()
        .filter(lacking)
        .map(|item| &*item.sku)
        .collect()
}

fn shortage(item: &Item, available: i64) -> Option<Shortage> {
    (item.quantity > available).then(|| Shortage {
        sku: item.sku.clone(),
        requested: item.quantity,
        available,
    })
}

/// Takes an order's units from the stock.
pub(super) fn commit(order: &str, lines: &[Line]) -> Result<Plan, Refusal> {
    match standing(lines) {
        Standing::New => Err(Refusal::UnknownOrder(order.to_owned())),
        Standing::Open => Ok(Plan::Move(
            open(lines)
                .map(|line| Movement::of(line, "commit", -line.quantity))
                .collect(),
        )),
        Standing::Ended(LineState::Committed) => Ok(Plan::Already),
        Standing::Ended(end) => Err(Refusal::Ended(order.to_owned(), end.as_str())),
    }
}

/// Frees an order's units. What has expired is free.
pub(super) fn release(order: &str, lines: &[Line]) -> Result<Plan, Refusal> {
    match standing(lines) {
        Standing::New => Err(Refusal::UnknownOrder(order.to_owned())),
        Standing::Ended(end @ LineState::Committed) => {
            Err(Refusal::Ended(order.to_owned(), end.as_str()))
        }
        Standing::Open | Standing::Ended(_) => {
            let freed: Vec<Movement> = open(lines)
                .map(|line| Movement::of(line, "release", 0))
                .collect();
            Ok(if freed.is_empty() {
                Plan::Already
            } else {
                Plan::Move(freed)
            })
        }
    }
}

/// What is still set aside of these.
pub(super) fn open(lines: &[Line]) -> impl Iterator<Item = &Line> {
    lines.iter().filter(|line| line.state == LineState::Open)
}

/// Changes what is on hand; never takes what is reserved.
pub(super) fn adjust(sku: &str, delta: i64, level: Option<Level>) -> Result<Plan, Refusal> {
    let Some(level) = level else {
        return Err(Refusal::UnknownSku(vec![sku.to_owned()]));
    };
    if delta < 0 && level.available() < -delta {
        return Err(Refusal::Insufficient(vec![Shortage {
            sku: sku.to_owned(),
            requested: -delta,
            available: level.available(),
        }]));
    }
    if level.on_hand + delta > MOST_ON_HAND {
        return Err(Refusal::Overflow(sku.to_owned()));
    }
    Ok(Plan::Move(vec![Movement {
        sku: sku.to_owned(),
        kind: "adjust",
        order: None,
        on_hand: delta,
        reserved: 0,
    }]))
}

/// The levels after these movements.
pub(super) fn after(levels: &mut Levels, movements: &[Movement]) {
    for movement in movements {
        if let Some(level) = levels.get_mut(&movement.sku) {
            level.on_hand += movement.on_hand;
            level.reserved += movement.reserved;
        }
    }
}

#[cfg(test)]
mod tests;
