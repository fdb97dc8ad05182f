//! `inventory.adjust`, `inventory.reserve`, `inventory.commit`, `inventory.release`: stock in the
//! job's own database.
//!
//! A change and the success of its job are one commit, fenced by the job's claim, so each unit
//! moves exactly once. `stock` tells what there is, `reservations` how each order stands, and
//! `movements`, to which rows are only added, explains every unit of both.
//!
//! | order's reservation | reserve | commit | release |
//! |---|---|---|---|
//! | none | reserves | `unknown_order` | `unknown_order` |
//! | open | done already; other items: `order_exists` | takes the units | frees the units |
//! | committed | done already; other items: `order_exists` | done already | `reservation_committed` |
//! | released | reserves anew | `reservation_released` | done already |
//! | expired | reserves anew | `reservation_expired` | done already |
//!
//! Further refusals: `unknown_sku`; `insufficient_stock`, whose message says what is missing;
//! `stock_overflow`. All are permanent failures: nothing is changed, and the job is a dead letter.
//!
//! A reservation expires by the database's clock, whether or not any process is at work: the next
//! job that wants its units, or its order, finds it over. Until then `stock.reserved` still counts
//! it; an `expire` movement tells when it was freed.

mod books;
mod check;
mod job;
mod payload;
mod plan;
mod postgres;
mod sqlite;
mod work;

use longshore::store::{Balance, Migration, Sums};

pub(crate) use payload::{AdjustStock, CommitStock, ReleaseStock, ReserveStock};
#[allow(
    unused_imports,
    reason = "the integration tests in tests/inventory do the jobs' work with them"
)]
pub(crate) use {payload::Item, work::Request, work::Stop, work::perform};

/// Its tables.
pub(crate) const TABLES: &[Migration] = &[
    Migration {
        name: "inventory 1",
        postgres: include_str!("migrations/0001_postgres.sql"),
        sqlite: include_str!("migrations/0001_sqlite.sql"),
    },
    Migration {
        name: "inventory 2",
        postgres: include_str!("migrations/0002_postgres.sql"),
        sqlite: include_str!("migrations/0002_sqlite.sql"),
    },
];

/// Stock equals the sum of its movements, and what is reserved the open reservations.
pub(crate) const BALANCE: Balance = Balance {
    name: "stock",
    postgres: include_str!("migrations/balance_postgres.sql"),
    sqlite: include_str!("migrations/balance_sqlite.sql"),
};

macro_rules! sums {
    ($schema:literal) => {
        concat!(
            "SELECT 'SKUs', COUNT(*) FROM ",
            $schema,
            "stock
             UNION ALL
             SELECT 'on hand', CAST(COALESCE(SUM(on_hand), 0) AS bigint) FROM ",
            $schema,
            "stock
             UNION ALL
             SELECT 'reserved', CAST(COALESCE(SUM(reserved), 0) AS bigint) FROM ",
            $schema,
            "stock"
        )
    };
}

/// How much of it there is.
pub(crate) const SUMS: Sums = Sums {
    name: BALANCE.name,
    postgres: sums!("longshore."),
    sqlite: sums!(""),
};
