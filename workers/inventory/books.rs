use chrono::{DateTime, Utc};
use longshore::job::JobId;
use longshore::store::{Connection, DatabaseError};

use super::payload::Item;
use super::plan::{Level, Levels, Line, LineState, Movement};
use super::{postgres, sqlite};

/// The tables, inside a transaction of a job.
///
/// **Invariant:** locks are taken in one order, by everybody: the order's, then those of its
/// SKUs by name; the job's own row comes last, at the commit. A line of `reservations` is
/// inserted or deleted only under its order's lock and changed only under its SKU's; what was
/// read before the SKUs were locked is read again.
#[derive(Debug)]
pub(super) struct Books<'t> {
    pub(super) db: Connection<'t>,
    pub(super) job: JobId,
    /// The beginning of the transaction, by the database's clock.
    pub(super) now: DateTime<Utc>,
}

type Answer<T> = Result<T, DatabaseError>;

macro_rules! on_either {
    ($books:expr, $function:ident ( $($argument:expr),* )) => {
        match &mut $books.db {
            Connection::Postgres(db) => postgres::$function(db, $($argument),*).await,
            Connection::Sqlite(db) => sqlite::$function(db, $($argument),*).await,
            _ => Err(unheard_of()),
        }
    };
}

fn unheard_of() -> DatabaseError {
    DatabaseError::Configuration("inventory has no tables for this database".into())
}

impl<'t> Books<'t> {
    /// Opens them; with the lock of an order, until the transaction ends.
    pub(super) async fn open(
        mut db: Connection<'t>,
        job: JobId,
        order: Option<&str>,
    ) -> Answer<Self> {
        let now = match &mut db {
            Connection::Postgres(db) => postgres::enter(db, order).await?,
            // The transaction is the only writer: it has every lock.
            Connection::Sqlite(_) => Utc::now(),
            _ => return Err(unheard_of()),
        };
        Ok(Self { db, job, now })
    }

    /// Adds a SKU, with nothing on hand, if it is new.
    pub(super) async fn create(&mut self, sku: &str) -> Answer<()> {
        on_either!(self, create(sku))
    }

    /// The lines of an order.
    pub(super) async fn lines(&mut self, order: &str) -> Answer<Vec<Line>> {
        let now = self.now;
        on_either!(self, lines(order, now))
    }

    /// Locks these SKUs, which are sorted, and tells what is there of those that are known.
    pub(super) async fn lock(&mut self, skus: &[&str]) -> Answer<Levels> {
        let found: Vec<(String, i64, i64)> = on_either!(self, lock(skus))?;
        let level = |(sku, on_hand, reserved)| (sku, Level { on_hand, reserved });
        Ok(found.into_iter().map(level).collect())
    }

    /// Takes note of reservations of these locked SKUs whose time is over, at most so many of
    /// each, the oldest first. So units are free when they are wanted, with no process at work
    /// that would free them in time.
    pub(super) async fn expire(&mut self, skus: &[&str], each: usize) -> Answer<Vec<Line>> {
        let (now, each) = (self.now, i64::try_from(each).unwrap_or(i64::MAX));
        on_either!(self, expire(skus, each, now))
    }

    /// Forgets how an earlier reservation of the order ended; its movements stay.
    pub(super) async fn forget(&mut self, order: &str) -> Answer<()> {
        on_either!(self, forget(order))
    }

    /// Adds the lines of an order that has none.
    pub(super) async fn reserve(
        &mut self,
        order: &str,
        items: &[Item],
        expires_at: DateTime<Utc>,
    ) -> Answer<()> {
        let (job, now) = (self.job, self.now);
        on_either!(self, reserve(order, items, expires_at, job, now))
    }

    /// Ends the open lines of an order.
    pub(super) async fn end(&mut self, order: &str, state: LineState) -> Answer<()> {
        let now = self.now;
        on_either!(self, end(order, state.as_str(), now))
    }

    /// Changes the stock and says so.
    pub(super) async fn apply(
        &mut self,
        movements: &[Movement],
        reason: Option<&str>,
    ) -> Answer<()> {
        let (job, now) = (self.job, self.now);
        on_either!(self, apply(movements, reason, job, now))
    }
}
