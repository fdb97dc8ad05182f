use std::collections::HashMap;
use std::time::Duration;

use super::duration::show;
use super::error::Problem;
use super::section::{Report, Section};
use crate::job::Kind;

/// How long a delivery may stay unacknowledged: RabbitMQ's default `consumer_timeout` of
/// 30 minutes (<https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout>), less a
/// minute for a dead owner's run to be found out and for the record. The broker closes the
/// channel of whoever exceeds it, and with it every other job's delivery is handed out again.
pub(super) const LONGEST_HOLD: Duration = Duration::from_secs(29 * 60);
/// Where a kind is listed.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) kind: Kind,
    pub(super) path: String,
    /// Byte offset.
    pub(super) at: usize,
}

/// Jobs find their queue by their kind, so it can be only one.
pub(super) fn one_queue_per_kind(report: &mut Report<'_>, mut listings: Vec<Listing>) {
    listings.sort_by_key(|listing| listing.at);
    let mut first: HashMap<&Kind, &str> = HashMap::new();
    for Listing { kind, path, at } in &listings {
        let Some(earlier) = first.get(kind) else {
            first.insert(kind, path);
            continue;
        };
        let message = if *earlier == path {
            format!("`{kind}` is listed twice")
        } else {
            format!("`{kind}` is also in {earlier}")
        };
        let fix = "list each kind in one queue, once";
        report.add(*at, path, Problem::new(message, fix));
    }
}

/// With fewer deliveries than handlers some handlers never have anything to do.
pub(super) fn every_handler_is_fed(
    report: &mut Report<'_>,
    table: &Section<'_, '_>,
    concurrency: u32,
    prefetch: u32,
) {
    if prefetch >= concurrency {
        return;
    }
    let (path, at) = table.locate(&["prefetch", "concurrency"]);
    let message = format!(
        "`prefetch` = {prefetch} is below `concurrency` = {concurrency}: handlers would idle"
    );
    let fix = format!("set `prefetch` to {concurrency} or more; the default is twice that");
    report.add(at, &path, Problem::new(message, fix));
}

/// A delivery waits in the process, unacknowledged, until the handlers before it are done: in
/// the worst case each round of them takes the whole timeout, which is at most `LONGEST_HOLD`.
pub(super) fn no_delivery_is_held_too_long(
    report: &mut Report<'_>,
    table: &Section<'_, '_>,
    concurrency: u32,
    prefetch: u32,
    timeout: Duration,
) {
    let rounds = prefetch.div_ceil(concurrency);
    if timeout.saturating_mul(rounds) <= LONGEST_HOLD {
        return;
    }
    let fitting = LONGEST_HOLD.as_nanos() / timeout.as_nanos().max(1);
    let most = u128::from(concurrency) * fitting;
    let (path, at) = table.locate(&["prefetch", "timeout", "concurrency"]);
    let message = format!(
        "the last of {prefetch} prefetched jobs may wait for {rounds} rounds of {}, longer than \
         the broker's consumer timeout of 30m",
        show(timeout),
    );
    let fix = format!("set `prefetch` to {most} or less, or lower `timeout`");
    report.add(at, &path, Problem::new(message, fix));
}

pub(super) fn delays_grow(
    report: &mut Report<'_>,
    table: &Section<'_, '_>,
    initial: Duration,
    max: Duration,
) {
    if max >= initial {
        return;
    }
    let (path, at) = table.locate(&["max", "initial"]);
    let (initial, max) = (show(initial), show(max));
    let message =
        format!("the longest delay, `max` = {max}, is below the first, `initial` = {initial}");
    let fix = format!("set `max` to \"{initial}\" or more, or lower `initial`");
    report.add(at, &path, Problem::new(message, fix));
}
