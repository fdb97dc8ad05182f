use std::collections::BTreeSet;

use futures::future::try_join_all;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};

use crate::broker::{Settlement, Verdict};

/// The deliveries of one channel that are not settled yet. Tags belong to that channel.
#[derive(Debug, Default)]
pub(super) struct Unsettled(BTreeSet<u64>);

/// What to tell the broker, in this order: `nacks`, then `up_to`, then `single`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    // A tag, and whether the message goes back to its queue.
    nacks: Vec<(u64, bool)>,
    // Acknowledges this tag and every lower one: all of those are settled.
    up_to: Option<u64>,
    single: Vec<u64>,
}

impl Unsettled {
    pub(super) fn add(&mut self, tag: u64) {
        self.0.insert(tag);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn plan(&mut self, settlements: impl IntoIterator<Item = Settlement>) -> Plan {
        let mut plan = Plan::default();
        let mut acks = BTreeSet::new();
        for Settlement { tag, verdict } in settlements {
            if !self.0.remove(&tag) {
                continue;
            }
            match verdict {
                Verdict::Ack => {
                    acks.insert(tag);
                }
                Verdict::Reject => plan.nacks.push((tag, false)),
                Verdict::Release => plan.nacks.push((tag, true)),
            }
        }
        // The lowest tag still open: no acknowledgement may cover it.
        let single = match self.0.first() {
            Some(open) => acks.split_off(open),
            None => BTreeSet::new(),
        };
        plan.single = single.into_iter().collect();
        match (acks.len(), acks.last()) {
            (1, Some(only)) => plan.single.insert(0, *only),
            (_, last) => plan.up_to = last.copied(),
        }
        plan
    }

    /// Tells the broker. An error is a lost channel.
    pub(super) async fn settle(
        &mut self,
        channel: &Channel,
        settlements: impl IntoIterator<Item = Settlement>,
    ) -> lapin::Result<()> {
        let plan = self.plan(settlements);
        // One frame each, queued in order; the wait is for the last to be written.
        try_join_all(plan.nacks.iter().map(|(tag, requeue)| {
            let options = BasicNackOptions {
                multiple: false,
                requeue: *requeue,
            };
            channel.basic_nack(*tag, options)
        }))
        .await?;
        if let Some(tag) = plan.up_to {
            channel
                .basic_ack(tag, BasicAckOptions { multiple: true })
                .await?;
        }
        let single = BasicAckOptions { multiple: false };
        try_join_all(
            plan.single
                .iter()
                .map(|tag| channel.basic_ack(*tag, single)),
        )
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn settlement(tag: u64, verdict: Verdict) -> Settlement {
        Settlement { tag, verdict }
    }

    fn acks(tags: &[u64]) -> Vec<Settlement> {
        tags.iter().map(|t| settlement(*t, Verdict::Ack)).collect()
    }

    fn unsettled(tags: std::ops::RangeInclusive<u64>) -> Unsettled {
        Unsettled(tags.collect())
    }

    #[test]
    fn contiguous_acknowledgements_are_one() {
        let mut open = unsettled(1..=5);
        let plan = open.plan(acks(&[2, 1, 3]));
        assert_eq!(
            plan,
            Plan {
                up_to: Some(3),
                ..Plan::default()
            }
        );
        let plan = open.plan(acks(&[5]));
        assert_eq!(plan.single, [5]);
        let plan = open.plan(acks(&[4]));
        assert_eq!(plan.single, [4]);
    }

    #[test]
    fn an_open_delivery_is_never_covered() {
        let mut open = unsettled(1..=5);
        let plan = open.plan(acks(&[1, 2, 4, 5]));
        assert_eq!(plan.up_to, Some(2));
        assert_eq!(plan.single, [4, 5]);
    }

    #[test]
    fn nothing_is_settled_twice() {
        let mut open = unsettled(1..=1);
        assert_eq!(open.plan(acks(&[1])).single, [1]);
        assert_eq!(open.plan(acks(&[1, 9])), Plan::default());
    }

    proptest! {
        /// A broker that follows the plan gives every delivery exactly its verdict.
        #[test]
        fn every_delivery_gets_its_own_verdict(
            order in Just((1u64..=30).collect::<Vec<_>>()).prop_shuffle(),
            verdicts in proptest::collection::vec(0..3, 30),
            sizes in proptest::collection::vec(1usize..8, 30),
        ) {
            let verdict = |tag: u64| match verdicts[tag as usize - 1] {
                0 => Verdict::Ack,
                1 => Verdict::Reject,
                _ => Verdict::Release,
            };
            let mut open = unsettled(1..=30);
            let mut broker: BTreeSet<u64> = (1..=30).collect();
            let mut settled = BTreeMap::new();
            let mut rest = order.as_slice();
            for size in sizes {
                let (now, later) = rest.split_at(size.min(rest.len()));
                rest = later;
                let plan = open.plan(now.iter().map(|tag| settlement(*tag, verdict(*tag))));
                for (tag, requeue) in plan.nacks {
                    prop_assert!(broker.remove(&tag));
                    settled.insert(tag, if requeue { Verdict::Release } else { Verdict::Reject });
                }
                let covered = plan.up_to.map_or_else(BTreeSet::new, |last| {
                    broker.iter().copied().filter(|tag| *tag <= last).collect()
                });
                for tag in covered.into_iter().chain(plan.single) {
                    prop_assert!(broker.remove(&tag));
                    settled.insert(tag, Verdict::Ack);
                }
                for tag in now {
                    prop_assert_eq!(settled.get(tag), Some(&verdict(*tag)));
                }
                prop_assert_eq!(settled.len(), 30 - open.0.len());
            }
        }
    }
}
