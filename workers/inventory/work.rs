use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use longshore::job::JobId;
use longshore::store::{Connection, DatabaseError};
use serde_json::{Value, json};

use super::books::Books;
use super::payload::{AdjustStock, Item, ReserveStock};
use super::plan::{self, Levels, Line, LineState, Movement, Plan, Refusal};

/// What a job asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request<'r> {
    Adjust(&'r AdjustStock),
    Reserve(&'r ReserveStock),
    Commit(&'r str),
    Release(&'r str),
}

/// Most lines that one transaction takes note of as expired: what has piled up in a quiet spell
/// must not outlast a statement's time, or nobody would ever get past it.
const BATCH: usize = 1000;

/// Why a transaction does not end the job. It must be rolled back, unless it says otherwise.
#[derive(Debug)]
pub(crate) enum Stop {
    Refused(Refusal),
    Database(DatabaseError),
    /// It freed some of what has expired, and there may be more: commit it, and begin anew.
    Freed,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<DatabaseError> for Stop {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

/// Does what a job asks for, inside its transaction; returns its result.
pub(crate) async fn perform(
    db: Connection<'_>,
    job: JobId,
    request: Request<'_>,
) -> Result<Value, Stop> {
    let order = match request {
        Request::Adjust(_) => None,
        Request::Reserve(wanted) => Some(wanted.order.as_str()),
        Request::Commit(order) | Request::Release(order) => Some(order),
    };
    let mut books = Books::open(db, job, order).await?;
    match request {
        Request::Adjust(wanted) => adjust(&mut books, wanted).await,
        Request::Reserve(wanted) => reserve(&mut books, wanted).await,
        Request::Commit(order) => end(&mut books, order, plan::commit, LineState::Committed).await,
        Request::Release(order) => end(&mut books, order, plan::release, LineState::Released).await,
    }
}

async fn adjust(books: &mut Books<'_>, wanted: &AdjustStock) -> Result<Value, Stop> {
    let sku = wanted.sku.as_str();
    if wanted.delta > 0 {
        books.create(sku).await?;
    }
    let mut levels = books.lock(&[sku]).await?;
    if wanted.delta < 0 {
        let taken = [Item {
            sku: wanted.sku.clone(),
            quantity: -wanted.delta,
        }];
        free_expired(books, &mut levels, &[sku], &taken).await?;
    }
    if let Plan::Move(movements) = plan::adjust(sku, wanted.delta, levels.get(sku).copied())? {
        books.apply(&movements, Some(&wanted.reason)).await?;
        plan::after(&mut levels, &movements);
    }
    let level = levels.get(sku).copied().unwrap_or_default();
    Ok(json!({
        "sku": sku,
        "on_hand": level.on_hand,
        "reserved": level.reserved,
        "available": level.available(),
    }))
}

async fn reserve(books: &mut Books<'_>, wanted: &ReserveStock) -> Result<Value, Stop> {
    let (order, items) = (wanted.order.as_str(), wanted.items.as_slice());
    let mut lines = books.lines(order).await?;
    let skus: BTreeSet<&str> = items.iter().map(|item| &*item.sku).collect();
    let held: Vec<String> = lines.iter().map(|line| line.sku.clone()).collect();
    // Also those of an earlier reservation, which is to be forgotten.
    let skus: BTreeSet<&str> = held.iter().map(String::as_str).chain(skus).collect();
    let skus: Vec<&str> = skus.into_iter().collect();
    let mut levels = books.lock(&skus).await?;
    if !lines.is_empty() {
        lines = books.lines(order).await?;
    }
    if let Some(Plan::Already) = plan::repeated(order, items, &lines)? {
        return Ok(reserved(wanted, None));
    }
    expire_rest(books, &mut levels, order, &lines).await?;
    free_expired(books, &mut levels, &skus, items).await?;
    let Plan::Move(movements) = plan::reserve(order, items, &levels)? else {
        return Ok(reserved(wanted, None));
    };
    if !lines.is_empty() {
        books.forget(order).await?;
    }
    let expires_at = books.now + kept_for(wanted);
    books.reserve(order, items, expires_at).await?;
    books.apply(&movements, None).await?;
    Ok(reserved(wanted, Some(expires_at)))
}

/// The payload was checked; a time that is none would be the default's.
fn kept_for(wanted: &ReserveStock) -> TimeDelta {
    let time = wanted.kept_for().unwrap_or(Duration::ZERO);
    TimeDelta::from_std(time).unwrap_or_default()
}

fn reserved(wanted: &ReserveStock, expires_at: Option<DateTime<Utc>>) -> Value {
    let mut result = json!({"order": wanted.order, "items": wanted.items});
    match expires_at {
        Some(expires_at) => result["expires_at"] = json!(expires_at),
        None => result["already"] = json!(true),
    }
    result
}

/// Takes note of what has expired, and counts it as free: of the SKUs that are short of what is
/// wanted, if any are.
async fn free_expired(
    books: &mut Books<'_>,
    levels: &mut Levels,
    skus: &[&str],
    wanted: &[Item],
) -> Result<(), Stop> {
    let short = plan::short(wanted, levels);
    let of = if short.is_empty() { skus } else { &*short };
    let each = (BATCH / of.len().max(1)).max(1);
    let expired = books.expire(of, each).await?;
    if expired.is_empty() {
        return Ok(());
    }
    let movements: Vec<Movement> = expired.iter().map(Movement::expiry).collect();
    books.apply(&movements, None).await?;
    plan::after(levels, &movements);
    if plan::short(wanted, levels).is_empty() {
        Ok(())
    } else {
        Err(Stop::Freed)
    }
}

/// Ends what is still open of an order that has expired in part, whatever the clock says: another
/// transaction may have begun later than this one and taken note of one line before it, and what
/// is forgotten while it is open would be counted for ever.
async fn expire_rest(
    books: &mut Books<'_>,
    levels: &mut Levels,
    order: &str,
    lines: &[Line],
) -> Result<(), DatabaseError> {
    let movements: Vec<Movement> = plan::open(lines).map(Movement::expiry).collect();
    if movements.is_empty() {
        return Ok(());
    }
    books.end(order, LineState::Expired).await?;
    books.apply(&movements, None).await?;
    plan::after(levels, &movements);
    Ok(())
}

async fn end(
    books: &mut Books<'_>,
    order: &str,
    decide: fn(&str, &[Line]) -> Result<Plan, Refusal>,
    state: LineState,
) -> Result<Value, Stop> {
    let mut lines = books.lines(order).await?;
    let skus: Vec<String> = lines.iter().map(|line| line.sku.clone()).collect();
    if !skus.is_empty() {
        let skus: Vec<&str> = skus.iter().map(String::as_str).collect();
        books.lock(&skus).await?;
        lines = books.lines(order).await?;
    }
    let items: Vec<Item> = lines
        .iter()
        .map(|line| Item {
            sku: line.sku.clone(),
            quantity: line.quantity,
        })
        .collect();
    Ok(match decide(order, &lines)? {
        Plan::Already => json!({"order": order, "items": items, "already": true}),
        Plan::Move(movements) => {
            books.end(order, state).await?;
            books.apply(&movements, None).await?;
            json!({"order": order, "items": items})
        }
    })
}
