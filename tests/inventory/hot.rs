//! One SKU that everybody wants, through the whole process.

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use longshore::job::State;
use longshore::worker::Registry;

use crate::handlers::on_both;
use crate::inventory::{self, AdjustStock, CommitStock, ReserveStock};
use crate::rules::{adjust, reserve};
use crate::site::{Place, Site};
use crate::support::wait::{PATIENCE, until};

const QUEUES: &str = r#"
[queues.inventory]
kinds = ["inventory.adjust", "inventory.reserve", "inventory.commit", "inventory.release"]
concurrency = 64
prefetch = 256
timeout = "60s"
"#;

const UNITS: i64 = 800;
const ORDERS: i64 = 1000;

pub async fn start(place: &Place) -> Site {
    let mut registry = Registry::default();
    registry
        .add::<AdjustStock, _>("inventory", |_| Ok(Arc::new(())))
        .unwrap();
    registry
        .add::<ReserveStock, _>("inventory", |_| Ok(Arc::new(())))
        .unwrap();
    registry
        .add::<CommitStock, _>("inventory", |_| Ok(Arc::new(())))
        .unwrap();
    for tables in inventory::TABLES {
        registry.add_migration(*tables);
    }
    Site::start(place, QUEUES, registry).await
}

/// More orders than units, all at once: each unit goes to one order, nobody waits for ever, and
/// no attempt fails but for want of stock.
async fn a_thousand_orders_of_one_sku(place: Place) {
    let site = start(&place).await;
    let stocked = site.submit("inventory", &adjust("tea", UNITS)).await;
    assert_eq!(site.ended(stocked).await.state, State::Succeeded);
    let begun = Instant::now();
    let orders: FuturesUnordered<_> = (0..ORDERS)
        .map(|n| {
            let site = &site;
            async move {
                let wanted = reserve(&format!("order-{n}"), &[("tea", 1)], "1h");
                site.submit("inventory", &wanted).await
            }
        })
        .collect();
    let ids: Vec<_> = orders.collect().await;
    until("every order has come to an end", PATIENCE, async || {
        let tally = site.store.tally().await.unwrap();
        (tally.live == 0).then_some(())
    })
    .await;
    eprintln!(
        "{ORDERS} orders of one SKU in {:.2} s",
        begun.elapsed().as_secs_f64()
    );
    let (mut had, mut refused) = (0, 0);
    for id in ids {
        let job = site.store.job(id).await.unwrap().unwrap();
        assert!(
            job.attempts.as_ref().is_none_or(|all| all.len() <= 1),
            "{job:?}"
        );
        match job.state {
            State::Succeeded => had += 1,
            State::Dead => {
                assert_eq!(job.error.unwrap().code, "insufficient_stock");
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((had, refused), (UNITS, ORDERS - UNITS));
    let found = site.store.differences(&inventory::BALANCE).await.unwrap();
    assert_eq!(found, Vec::<String>::new());
    site.stop().await;
}

on_both!(a_thousand_orders_of_one_sku);
