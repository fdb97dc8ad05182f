//! Each answer of the stock worker, on the store.

use longshore::job::Transition;
use longshore::store::Fence;
use serde_json::{Value, json};

use crate::handlers::on_both;
use crate::inventory::{self, AdjustStock, Request, ReserveStock, Stop, perform};
use crate::site::{Bench, Place};

/// Does one thing in a job of its own: its result, or the code of its refusal.
pub async fn done(bench: &Bench, request: Request<'_>) -> Result<Value, String> {
    let fence: Fence = bench.running("inventory.test").await;
    loop {
        let mut effect = bench.store.begin_effect(fence).await.unwrap().unwrap();
        match perform(effect.connection(), fence.id, request).await {
            Ok(result) => {
                assert!(effect.succeed(Some(&result), &[]).await.unwrap());
                effect.commit().await.unwrap();
                return Ok(result);
            }
            Err(Stop::Refused(refusal)) => {
                effect.roll_back().await;
                assert!(bench.record(fence, Transition::HandBack).await);
                return Err(format!("{refusal:?}: {refusal}"));
            }
            Err(Stop::Freed) => {
                assert!(effect.hold().await.unwrap());
                effect.commit().await.unwrap();
            }
            Err(Stop::Database(error)) => panic!("{error}"),
        }
    }
}

pub fn adjust(sku: &str, delta: i64) -> AdjustStock {
    serde_json::from_value(json!({"sku": sku, "delta": delta, "reason": "test"})).unwrap()
}

pub fn reserve(order: &str, items: &[(&str, i64)], expires_in: &str) -> ReserveStock {
    let items: Vec<Value> = items
        .iter()
        .map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity}))
        .collect();
    let payload = json!({"order": order, "items": items, "expires_in": expires_in});
    serde_json::from_value(payload).unwrap()
}

/// On hand and reserved, as adding nothing but one unit and taking it again tells.
pub async fn level(bench: &Bench, sku: &str) -> (i64, i64) {
    done(bench, Request::Adjust(&adjust(sku, 1))).await.unwrap();
    let level = done(bench, Request::Adjust(&adjust(sku, -1)))
        .await
        .unwrap();
    (
        level["on_hand"].as_i64().unwrap(),
        level["reserved"].as_i64().unwrap(),
    )
}

pub async fn refused(bench: &Bench, request: Request<'_>, what: &str) {
    let refusal = done(bench, request).await.unwrap_err();
    assert!(refusal.contains(what), "{refusal}");
}

pub async fn balanced(bench: &Bench) {
    let found = bench.store.differences(&inventory::BALANCE).await.unwrap();
    assert_eq!(found, Vec::<String>::new());
}

async fn an_order_goes_its_way(place: Place) {
    let bench = Bench::open(&place, inventory::TABLES).await;
    refused(&bench, Request::Adjust(&adjust("tea", -1)), "UnknownSku").await;
    for (sku, delta) in [("tea", 10), ("pot", 2)] {
        done(&bench, Request::Adjust(&adjust(sku, delta)))
            .await
            .unwrap();
    }
    let wanted = reserve("o1", &[("tea", 4), ("pot", 1)], "1h");
    let first = done(&bench, Request::Reserve(&wanted)).await.unwrap();
    assert!(first["expires_at"].is_string(), "{first}");
    assert_eq!(level(&bench, "tea").await, (10, 4));
    // Again, by another job: nothing changes.
    let again = done(&bench, Request::Reserve(&wanted)).await.unwrap();
    assert_eq!(again["already"], true);
    let other = reserve("o1", &[("tea", 5)], "1h");
    refused(&bench, Request::Reserve(&other), "OrderExists").await;
    // All or nothing.
    let greedy = reserve("o2", &[("tea", 6), ("pot", 2)], "1h");
    refused(
        &bench,
        Request::Reserve(&greedy),
        "pot: requested 2, available 1, missing 1",
    )
    .await;
    let odd = reserve("o2", &[("tea", 1), ("cup", 1)], "1h");
    refused(&bench, Request::Reserve(&odd), "cup").await;
    refused(&bench, Request::Adjust(&adjust("tea", -7)), "Insufficient").await;
    assert_eq!(level(&bench, "tea").await, (10, 4));
    done(&bench, Request::Commit("o1")).await.unwrap();
    assert_eq!(level(&bench, "tea").await, (6, 0));
    let again = done(&bench, Request::Commit("o1")).await.unwrap();
    assert_eq!(again["already"], true);
    refused(&bench, Request::Release("o1"), "committed").await;
    refused(&bench, Request::Commit("o9"), "UnknownOrder").await;
    refused(&bench, Request::Release("o9"), "UnknownOrder").await;
    let third = reserve("o3", &[("tea", 6)], "1h");
    done(&bench, Request::Reserve(&third)).await.unwrap();
    done(&bench, Request::Release("o3")).await.unwrap();
    refused(&bench, Request::Commit("o3"), "released").await;
    assert_eq!(level(&bench, "tea").await, (6, 0));
    // The customer comes back, for something else.
    let third = reserve("o3", &[("pot", 1)], "1h");
    done(&bench, Request::Reserve(&third)).await.unwrap();
    done(&bench, Request::Commit("o3")).await.unwrap();
    assert_eq!(level(&bench, "pot").await, (0, 0));
    balanced(&bench).await;
    bench.store.close().await;
}

async fn what_expires_is_free_with_nobody_at_work(place: Place) {
    let bench = Bench::open(&place, inventory::TABLES).await;
    for (sku, delta) in [("tea", 5), ("pot", 5)] {
        done(&bench, Request::Adjust(&adjust(sku, delta)))
            .await
            .unwrap();
    }
    let brief = reserve("brief", &[("tea", 5), ("pot", 2)], "1s");
    done(&bench, Request::Reserve(&brief)).await.unwrap();
    let wanted = reserve("o", &[("tea", 5)], "1h");
    refused(&bench, Request::Reserve(&wanted), "Insufficient").await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    refused(&bench, Request::Commit("brief"), "expired").await;
    balanced(&bench).await;
    done(&bench, Request::Reserve(&wanted)).await.unwrap();
    balanced(&bench).await;
    // One of its lines is taken note of, the other not yet.
    refused(&bench, Request::Commit("brief"), "expired").await;
    assert_eq!(
        level(&bench, "pot").await,
        (5, 0),
        "taking units frees what is over"
    );
    done(&bench, Request::Release("brief")).await.unwrap();
    let anew = reserve("brief", &[("pot", 5)], "1h");
    done(&bench, Request::Reserve(&anew)).await.unwrap();
    done(&bench, Request::Commit("brief")).await.unwrap();
    assert_eq!(level(&bench, "tea").await, (5, 5));
    balanced(&bench).await;
    bench.store.close().await;
}

/// A row that is changed by hand is named.
async fn the_balance_tells_what_was_changed_by_hand(place: Place) {
    let bench = Bench::open(&place, inventory::TABLES).await;
    done(&bench, Request::Adjust(&adjust("tea", 5)))
        .await
        .unwrap();
    let wanted = reserve("o1", &[("tea", 2)], "1h");
    done(&bench, Request::Reserve(&wanted)).await.unwrap();
    balanced(&bench).await;
    for (change, named) in [
        ("UPDATE stock SET on_hand = on_hand + 1", "stock of tea"),
        ("UPDATE reservations SET quantity = 1", "order o1"),
        (
            "UPDATE reservations SET state = 'released', ended_at = created_at",
            "order o1",
        ),
        ("DELETE FROM reservations", "order o1"),
        (
            "UPDATE movements SET on_hand = 6 WHERE kind = 'adjust'",
            "stock of tea",
        ),
        ("DELETE FROM movements WHERE kind = 'reserve'", "order o1"),
    ] {
        let undo = by_hand(&bench, change).await;
        assert!(
            undo.iter().any(|what| what.contains(named)),
            "{change}: {undo:?}"
        );
    }
    balanced(&bench).await;
    bench.store.close().await;
}

/// What the balance says inside a transaction that makes this change, which is rolled back.
pub async fn by_hand(bench: &Bench, change: &'static str) -> Vec<String> {
    use longshore::store::Connection;
    let fence = bench.running("inventory.test").await;
    let mut effect = bench.store.begin_effect(fence).await.unwrap().unwrap();
    let found = match effect.connection() {
        Connection::Postgres(db) => {
            sqlx::raw_sql("SET LOCAL search_path = longshore")
                .execute(&mut *db)
                .await
                .unwrap();
            sqlx::raw_sql(change).execute(&mut *db).await.unwrap();
            sqlx::query_scalar(inventory::BALANCE.postgres)
                .fetch_all(db)
                .await
        }
        Connection::Sqlite(db) => {
            sqlx::raw_sql(change).execute(&mut *db).await.unwrap();
            sqlx::query_scalar(inventory::BALANCE.sqlite)
                .fetch_all(db)
                .await
        }
        other => panic!("{other:?}"),
    };
    effect.roll_back().await;
    assert!(bench.record(fence, Transition::HandBack).await);
    found.unwrap()
}

async fn tables_are_made_once_and_missed_by_name(place: Place) {
    let store = place.open().await;
    store.migrate().await.unwrap();
    let tables = inventory::TABLES;
    assert_eq!(
        store.missing(tables).await.unwrap(),
        ["inventory 1", "inventory 2"]
    );
    let elsewhere = place.open().await;
    let (one, other) = tokio::join!(store.extend(tables), elsewhere.extend(tables));
    let mut applied = [one.unwrap(), other.unwrap()];
    applied.sort_unstable();
    assert_eq!(applied, [0, tables.len()]);
    assert!(store.missing(tables).await.unwrap().is_empty());
    elsewhere.close().await;
    store.close().await;
}

on_both!(
    an_order_goes_its_way,
    what_expires_is_free_with_nobody_at_work,
    the_balance_tells_what_was_changed_by_hand,
    tables_are_made_once_and_missed_by_name,
);
