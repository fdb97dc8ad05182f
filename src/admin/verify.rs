use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use crate::broker::{Broker, BrokerError, Lane, Source};
use crate::config::Queues;
use crate::job::QueueName;
use crate::store::{Balance, InFlight, Sheet, Store, StoreResult, Sums};

/// Differences of each check that are told by name.
const NAMED: u32 = 100;
/// How often store and broker are compared before a difference is told: they are not read in one
/// snapshot, and messages move between two looks.
const LOOKS: usize = 3;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(700);
/// How long the broker may take to tell of all its queues.
const PATIENCE: Duration = Duration::from_secs(10);

/// The balance sheet of the whole installation.
#[derive(Debug, Serialize)]
pub struct Verification {
    /// True if everything in the store adds up.
    pub balanced: bool,
    /// Accepted jobs that no row accounts for; negative when there are more rows than jobs.
    pub missing: i64,
    /// The store against itself.
    #[serde(flatten)]
    pub sheet: Sheet,
    /// The broker against the store. Whatever it says, the store fills the broker again.
    pub broker: BrokerSide,
}

/// What the broker holds.
#[derive(Debug, Serialize)]
pub struct BrokerSide {
    /// `none` where there is none to ask, `compared`, or why it was not.
    pub status: String,
    /// Of each queue.
    pub queues: Vec<QueueSide>,
}

/// What the broker holds of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueSide {
    /// The queue, as the store sees it.
    #[serde(flatten)]
    pub expected: InFlight,
    /// Messages that are ready, at either priority.
    pub ready: u64,
    /// Messages in its dead-letter queue, on their way into the store.
    pub dead: u64,
    /// Consumers, of all processes.
    pub consumers: u64,
    /// What differs, and who mends it; none if nothing does.
    pub difference: Option<String>,
}

/// Reads the balance sheet, and compares it with the broker if there is one to ask.
///
/// # Errors
/// The store's.
pub async fn verify(
    store: &dyn Store,
    broker: Option<&dyn Broker>,
    queues: &Queues,
    balances: &[Balance],
    sums: &[Sums],
) -> StoreResult<Verification> {
    let sheet = store.sheet(balances, sums, NAMED).await?;
    let broker = match broker {
        Some(broker) => compare(store, broker, queues, &sheet.in_flight).await?,
        None => BrokerSide {
            status: "none".to_owned(),
            queues: Vec::new(),
        },
    };
    Ok(Verification {
        balanced: sheet.is_balanced(),
        missing: i64::try_from(sheet.jobs.missing()).unwrap_or(i64::MAX),
        sheet,
        broker,
    })
}

/// Looks again while anything differs; what is told differed at every look.
async fn compare(
    store: &dyn Store,
    broker: &dyn Broker,
    queues: &Queues,
    first: &[InFlight],
) -> StoreResult<BrokerSide> {
    let mut expected = first.to_vec();
    let mut told: Option<Vec<QueueSide>> = None;
    for look in 1..=LOOKS {
        let asked = ask(broker, queues, &expected);
        let seen = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(why)) => return Ok(BrokerSide::silent(why)),
            Err(_) => return Ok(BrokerSide::silent("no answer in time".to_owned())),
        };
        let seen = match told.take() {
            None => seen,
            Some(before) => still_different(seen, &before),
        };
        let differs = seen.iter().any(|queue| queue.difference.is_some());
        told = Some(seen);
        if !differs || look == LOOKS {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        expected = store.in_flight().await?;
    }
    Ok(BrokerSide {
        status: "compared".to_owned(),
        queues: told.unwrap_or_default(),
    })
}

impl BrokerSide {
    fn silent(why: String) -> Self {
        Self {
            status: why,
            queues: Vec::new(),
        }
    }
}

async fn ask(
    broker: &dyn Broker,
    queues: &Queues,
    expected: &[InFlight],
) -> Result<Vec<QueueSide>, String> {
    let configured = queues.names().map(|name| name.as_str());
    let holding = expected.iter().map(|side| side.queue.as_str());
    let names: BTreeSet<&str> = configured.chain(holding).collect();
    let mut sides = Vec::with_capacity(names.len());
    for name in names {
        let Ok(queue) = name.parse::<QueueName>() else {
            continue;
        };
        let status = async |lane| {
            let source = Source::new(queue.clone(), lane);
            broker.status(&source).await
        };
        let expected = expected.iter().find(|side| side.queue == name).cloned();
        let mut side = QueueSide {
            expected: expected.unwrap_or_else(|| InFlight::none(name)),
            ready: 0,
            dead: 0,
            consumers: 0,
            difference: None,
        };
        for lane in [Lane::Normal, Lane::High, Lane::Dead] {
            match (lane, status(lane).await) {
                (Lane::Dead, Ok(status)) => side.dead = status.ready,
                (_, Ok(status)) => {
                    side.ready += status.ready;
                    side.consumers = side.consumers.max(status.consumers);
                }
                (_, Err(BrokerError::NoQueue(name))) => {
                    side.difference = Some(format!(
                        "the queue {name} is missing: a relay declares and fills it again"
                    ));
                }
                (_, Err(error)) => return Err(error.to_string()),
            }
        }
        side.difference = side.difference.take().or_else(|| difference(&side, queues));
        sides.push(side);
    }
    Ok(sides)
}

/// What was sent and is not ready is in the hands of consumers, or lost.
fn difference(side: &QueueSide, queues: &Queues) -> Option<String> {
    let sent = side.expected.queued - side.expected.unpublished.min(side.expected.queued);
    let prefetch = queues
        .get(&side.expected.queue)
        .map_or(u64::from(u16::MAX), |queue| u64::from(queue.prefetch));
    // Both lanes of each process.
    let in_hand = side.consumers.saturating_mul(prefetch).saturating_mul(2);
    if side.ready > sent.saturating_add(side.expected.unpublished) {
        let extra = side.ready - sent;
        return Some(format!(
            "{extra} more messages than jobs that wait: stale copies, dropped when delivered"
        ));
    }
    let absent = sent.saturating_sub(side.ready);
    (absent > in_hand).then(|| {
        let lost = absent - in_hand;
        format!("{lost} or more messages are gone: the relay publishes them again")
    })
}

fn still_different(seen: Vec<QueueSide>, before: &[QueueSide]) -> Vec<QueueSide> {
    let differed = |name: &str| {
        let mut sides = before.iter();
        sides.any(|side| side.expected.queue == name && side.difference.is_some())
    };
    let confirm = |side: QueueSide| QueueSide {
        difference: side
            .difference
            .clone()
            .filter(|_| differed(&side.expected.queue)),
        ..side
    };
    seen.into_iter().map(confirm).collect()
}
