//! Reservations whose time is over: whoever takes note of them, in whichever order, the stock
//! adds up, and there are never too many of them to get past.

use std::time::Duration;

use longshore::job::Transition;
use longshore::store::Connection;

use crate::handlers::on_both;
use crate::inventory::{self, Request, perform};
use crate::rules::{adjust, balanced, done, level, reserve};
use crate::site::{Bench, Place};

/// Changes rows behind the worker's back.
async fn change(bench: &Bench, sql: &str) {
    let fence = bench.running("inventory.test").await;
    let mut effect = bench.store.begin_effect(fence).await.unwrap().unwrap();
    match effect.connection() {
        Connection::Postgres(db) => {
            sqlx::raw_sql("SET LOCAL search_path = longshore")
                .execute(&mut *db)
                .await
                .unwrap();
            let sql = sqlx::AssertSqlSafe(sql.to_owned());
            sqlx::raw_sql(sql).execute(&mut *db).await.unwrap();
        }
        Connection::Sqlite(db) => {
            let sql = sqlx::AssertSqlSafe(sql.to_owned());
            sqlx::raw_sql(sql).execute(&mut *db).await.unwrap();
        }
        other => panic!("{other:?}"),
    }
    assert!(effect.succeed(None, &[]).await.unwrap());
    effect.commit().await.unwrap();
}

async fn stocked(place: &Place, skus: &[&str], units: i64) -> Bench {
    let bench = Bench::open(place, inventory::TABLES).await;
    for sku in skus {
        let delivery = adjust(sku, units);
        done(&bench, Request::Adjust(&delivery)).await.unwrap();
    }
    bench
}

/// By the clock of who comes again only one of its lines has expired: the clock was set back, or
/// another transaction began later and was first.
async fn an_order_that_expired_in_part_holds_nothing_when_it_is_reserved_again(place: Place) {
    let bench = stocked(&place, &["hot", "slow"], 5).await;
    let both = reserve("o", &[("hot", 2), ("slow", 5)], "1h");
    done(&bench, Request::Reserve(&both)).await.unwrap();
    change(
        &bench,
        "UPDATE reservations SET expires_at = created_at WHERE sku = 'slow'",
    )
    .await;
    let other = reserve("p", &[("slow", 5)], "1h");
    done(&bench, Request::Reserve(&other)).await.unwrap();
    balanced(&bench).await;
    let again = reserve("o", &[("hot", 1)], "1h");
    done(&bench, Request::Reserve(&again)).await.unwrap();
    balanced(&bench).await;
    assert_eq!(level(&bench, "hot").await, (5, 1));
    bench.store.close().await;
}

/// A quiet spell leaves more overdue reservations than one transaction may free.
async fn any_number_of_overdue_reservations_is_got_past(place: Place) {
    const LINES: i64 = 2500;
    let bench = stocked(&place, &["pot", "tea"], LINES).await;
    let job = bench.running("inventory.test").await.id;
    let rows = match place {
        Place::Postgres(_) => format!(
            "INSERT INTO reservations SELECT 'order-' || n, 'tea', 1, 'open',
                 '2020-01-01', '2020-01-01', NULL, '{job}' FROM generate_series(1, {LINES}) n;
             INSERT INTO movements (sku, kind, order_id, on_hand, reserved, job, at)
             SELECT 'tea', 'reserve', order_id, 0, 1, job, created_at FROM reservations;"
        ),
        Place::Sqlite(_) => format!(
            "INSERT INTO reservations
             WITH RECURSIVE series (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM series WHERE n < {LINES})
             SELECT 'order-' || n, 'tea', 1, 'open', 1, 1, NULL, x'00' FROM series;
             INSERT INTO movements (sku, kind, order_id, on_hand, reserved, job, at)
             SELECT 'tea', 'reserve', order_id, 0, 1, job, 1 FROM reservations;"
        ),
    };
    change(&bench, &rows).await;
    change(
        &bench,
        "UPDATE stock SET reserved = on_hand WHERE sku = 'tea'",
    )
    .await;
    balanced(&bench).await;
    // The first transaction is not the last, and frees no more than it may.
    let wanted = reserve("o", &[("pot", 1), ("tea", 2400)], "1h");
    let fence = bench.running("inventory.test").await;
    let mut effect = bench.store.begin_effect(fence).await.unwrap().unwrap();
    let first = perform(effect.connection(), fence.id, Request::Reserve(&wanted)).await;
    assert!(matches!(first, Err(inventory::Stop::Freed)), "{first:?}");
    effect.roll_back().await;
    assert!(bench.record(fence, Transition::HandBack).await);
    done(&bench, Request::Reserve(&wanted)).await.unwrap();
    balanced(&bench).await;
    let (on_hand, reserved) = level(&bench, "tea").await;
    assert_eq!((on_hand, reserved), (LINES, 2400));
    bench.store.close().await;
}

/// A job that is short frees what is over, and is cut off; meanwhile the same line is reserved and
/// over again.
async fn a_job_that_runs_again_frees_the_same_line_again(place: Place) {
    let bench = stocked(&place, &["tea"], 5).await;
    let greedy = reserve("greedy", &[("tea", 6)], "1h");
    let mut fence = bench.running("inventory.test").await;
    for _ in 0..2 {
        let brief = reserve("brief", &[("tea", 5)], "1h");
        done(&bench, Request::Reserve(&brief)).await.unwrap();
        change(&bench, "UPDATE reservations SET expires_at = created_at").await;
        let mut effect = bench.store.begin_effect(fence).await.unwrap().unwrap();
        let freed = perform(effect.connection(), fence.id, Request::Reserve(&greedy)).await;
        assert!(matches!(freed, Err(inventory::Stop::Freed)), "{freed:?}");
        assert!(effect.hold().await.unwrap());
        effect.commit().await.unwrap();
        assert!(bench.record(fence, Transition::HandBack).await);
        fence = bench.claimed(fence.id).await;
    }
    let mut effect = bench.store.begin_effect(fence).await.unwrap().unwrap();
    let refused = perform(effect.connection(), fence.id, Request::Reserve(&greedy)).await;
    assert!(
        matches!(refused, Err(inventory::Stop::Refused(_))),
        "{refused:?}"
    );
    effect.roll_back().await;
    balanced(&bench).await;
    assert_eq!(level(&bench, "tea").await, (5, 0));
    bench.store.close().await;
}

on_both!(
    a_job_that_runs_again_frees_the_same_line_again,
    an_order_that_expired_in_part_holds_nothing_when_it_is_reserved_again,
    any_number_of_overdue_reservations_is_got_past,
);

/// The same with two transactions, of which the one that began first comes second.
#[tokio::test(flavor = "multi_thread")]
async fn who_began_before_an_expiry_and_waited_beyond_it_forgets_nothing_open() {
    let place = Place::postgres().await;
    let bench = stocked(&place, &["hot", "slow"], 5).await;
    let both = reserve("o", &[("hot", 2), ("slow", 5)], "2s");
    done(&bench, Request::Reserve(&both)).await.unwrap();
    // Somebody has the hot SKU.
    let holder = bench.running("inventory.test").await;
    let mut holding = bench.store.begin_effect(holder).await.unwrap().unwrap();
    let unit = adjust("hot", 1);
    perform(holding.connection(), holder.id, Request::Adjust(&unit))
        .await
        .unwrap();
    let first = bench.running("inventory.test").await;
    let mut effect = bench.store.begin_effect(first).await.unwrap().unwrap();
    let again = reserve("o", &[("hot", 1)], "1h");
    let early = async {
        let result = perform(effect.connection(), first.id, Request::Reserve(&again)).await;
        let result = result.unwrap();
        assert!(effect.succeed(Some(&result), &[]).await.unwrap());
        effect.commit().await.unwrap();
    };
    let late = async {
        tokio::time::sleep(Duration::from_millis(2200)).await;
        let other = reserve("p", &[("slow", 5)], "1h");
        done(&bench, Request::Reserve(&other)).await.unwrap();
        holding.roll_back().await;
    };
    tokio::join!(early, late);
    balanced(&bench).await;
    assert_eq!(level(&bench, "hot").await, (5, 1));
    bench.store.close().await;
}
