//! Tables that jobs bring along, in the platform's own database.

use async_trait::async_trait;

use super::StoreResult;

/// A step that brings the tables of some jobs to this program's version. Applied once, together
/// with all others that are missing, by `longshore migrate` and `longshore dev`; a step that was
/// released never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its name, for ever: `inventory 1`. Steps are applied in the order in which they are given.
    pub name: &'static str,
    /// Statements for PostgreSQL. The platform's schema is `longshore`, and other tables may be
    /// in it too.
    pub postgres: &'static str,
    /// Statements for SQLite.
    pub sqlite: &'static str,
}

/// A question that finds what does not add up in the tables of some jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// What should add up: `stock`.
    pub name: &'static str,
    /// For PostgreSQL: a query of one column of text, a row for each difference; bounded.
    pub postgres: &'static str,
    /// The same for SQLite.
    pub sqlite: &'static str,
}

/// A question for the totals in the tables of some jobs, for the balance sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// The name of the [`Balance`] that they belong to.
    pub name: &'static str,
    /// For PostgreSQL: a query of a column of text, what it is, and one of `bigint`, how much.
    pub postgres: &'static str,
    /// The same for SQLite.
    pub sqlite: &'static str,
}

/// What a store does for the tables of jobs.
#[async_trait]
pub trait Extensions {
    /// Those that were not applied yet.
    async fn missing(&self, migrations: &[Migration]) -> StoreResult<Vec<&'static str>>;

    /// Applies those that are missing, all or none, and returns how many. Two at once are safe:
    /// one waits for the other. The store's own schema must be there.
    async fn extend(&self, migrations: &[Migration]) -> StoreResult<usize>;

    /// What does not add up, in words; nothing if all does.
    async fn differences(&self, balance: &Balance) -> StoreResult<Vec<String>>;
}
