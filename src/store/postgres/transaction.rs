use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};

use super::error::Fault;
use crate::store::{StoreError, StoreResult};

/// What a transaction is for: how it begins, and how long its caller waits for all of it.
///
/// Settings are set in the transaction and travel with `BEGIN` in one round trip, so that they
/// hold behind a pooler that shares server connections between transactions. The server ends a
/// statement a little before the caller gives up, and a transaction whose process was frozen or
/// vanished in the middle of it: its locks would hold up whoever declares that process dead, and
/// every claim of the same jobs, for as long as TCP takes to notice.
#[derive(Debug)]
pub(super) struct Kind {
    begin: &'static str,
    bound: Duration,
}

/// Has the server look every second whether whoever asked is still there, and end what nobody
/// waits for. On some systems it cannot look: then the statement runs on to its bound.
macro_rules! looking {
    () => {
        "; DO $$ BEGIN SET LOCAL client_connection_check_interval = '1s'; \
         EXCEPTION WHEN OTHERS THEN NULL; END $$"
    };
}

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident: $seconds:literal, $statement_timeout:literal, $settings:expr) => {
        $(#[$doc])*
        pub(super) const $name: Kind = Kind {
            begin: concat!(
                "BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL jit = off; ",
                "SET LOCAL statement_timeout = '", $statement_timeout, "'; ",
                "SET LOCAL idle_in_transaction_session_timeout = '5s'; ", $settings
            ),
            bound: Duration::from_secs($seconds),
        };
    };
}

kind! {
    /// Finds its rows by their keys. A generic plan that never scans is right for a table of
    /// any size; otherwise a plan that was made while `live` was empty would scan it when it
    /// has grown by a million rows. Without bitmaps, rows are met in the order of the index, so
    /// that what is changed by `id = ANY` is locked in the order of ids.
    HOT: 10, "9s",
    "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; \
     SET LOCAL enable_bitmapscan = off"
}
kind! {
    /// A handler's own work, and then the end of its job, which finds its rows as [`HOT`] does.
    /// Not set anew in between: that would be a round trip while the handler holds its rows. The
    /// bound is that of each step.
    EFFECT: 10, "9s",
    "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off"
}
kind! {
    /// As [`HOT`]; a late beat, or a late read of beats, counts as none.
    BEAT: 4, "3s",
    "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off"
}
kind! {
    /// Reads or moves by filters; planned for what it is given.
    COLD: 10, "9s", concat!("SET LOCAL plan_cache_mode = force_custom_plan", looking!())
}
kind! {
    /// Reads a page in the order of ids. Every arm of a list has an index in that order, which
    /// ends with the page; sorting instead is right only for a value that is rare, which the
    /// planner takes any value for while it knows nothing about a young table.
    LIST: 10, "9s",
    concat!("SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_sort = off", looking!())
}
kind! {
    /// Reads everything.
    WIDE: 60, "58s", concat!("SET LOCAL plan_cache_mode = force_custom_plan", looking!())
}
/// Reads everything, by many statements in one snapshot, and locks no rows. No worker processes
/// of the server: what is verified is at work.
pub(super) const SNAPSHOT: Kind = Kind {
    begin: concat!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL jit = off; ",
        "SET LOCAL statement_timeout = '58s'; ",
        "SET LOCAL idle_in_transaction_session_timeout = '5s'; ",
        "SET LOCAL max_parallel_workers_per_gather = 0; ",
        "SET LOCAL enable_partitionwise_join = on; ",
        "SET LOCAL plan_cache_mode = force_custom_plan; ",
        // Before the first statement that takes the snapshot: a day that is being dropped is
        // waited for here, and is gone from rows and counters alike in what is then seen. Who
        // wants to drop one meanwhile gives up at its first table, with nothing moved.
        "LOCK TABLE longshore.job, longshore.done, longshore.attempt, longshore.tag ",
        "IN ACCESS SHARE MODE",
        looking!()
    ),
    bound: Duration::from_secs(600),
};

kind! {
    /// Changes the schema once.
    MIGRATION: 300, "290s", "SET LOCAL plan_cache_mode = force_custom_plan"
}
kind! {
    /// Changes tables while others work on them. Waiting for an exclusive lock stops everybody
    /// who comes after, so it gives up soon and is tried at the next occasion.
    UPKEEP: 300, "290s",
    "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL lock_timeout = '500ms'"
}

/// Runs one transaction of a kind, and answers in the caller's terms within its bound.
macro_rules! transact {
    ($pool:expr, $kind:expr, |$tx:ident| $work:expr) => {
        $crate::store::postgres::transaction::within(&$kind, async {
            let mut $tx = $crate::store::postgres::transaction::Tx::begin(&$pool, &$kind).await?;
            let answer = $work.await;
            $tx.end(answer).await
        })
        .await
    };
}

pub(super) use transact;

/// A server that does not answer is unavailable; the transaction's connection is closed.
pub(super) async fn within<T>(
    kind: &Kind,
    work: impl Future<Output = Result<T, Fault>>,
) -> StoreResult<T> {
    // On the heap: a call of the store is part of many larger futures.
    let answer = tokio::time::timeout(kind.bound, Box::pin(work)).await;
    answer
        .unwrap_or_else(|_| Err(Fault::late()))
        .map_err(StoreError::from)
}

/// How often somebody who waits for a new connection looks for one that has come back.
const LOOK: Duration = Duration::from_millis(20);

/// A connection. The pool decides once, whether to open one or to wait for one; where none can
/// be opened, those that come back meanwhile must not lie idle until it gives up.
async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
    let mut opened = std::pin::pin!(pool.acquire());
    loop {
        tokio::select! {
            biased;
            opened = &mut opened => return opened,
            () = tokio::time::sleep(LOOK) => if let Some(idle) = pool.try_acquire() {
                return Ok(idle);
            },
        }
    }
}

/// How long a connection may take to go back to the pool.
const RETURN: Duration = Duration::from_secs(2);

/// A connection inside a transaction.
///
/// Dropped before [`Tx::end`] has finished (the caller was cancelled, the bound is over), it
/// closes its connection, which rolls back: one on which an answer is outstanding never goes
/// back to the pool, and a frozen server cannot keep the pool's places.
pub(super) struct Tx {
    connection: PoolConnection<Postgres>,
    settled: bool,
}

impl Tx {
    /// Begins a transaction of a kind. Nothing has been asked for yet, so where an idle
    /// connection turns out to be dead (the server was restarted) another one is tried, until
    /// the pool makes a fresh one.
    pub(super) async fn begin(pool: &PgPool, kind: &Kind) -> Result<Self, Fault> {
        let mut stale = 0;
        loop {
            let mut tx = Self {
                connection: acquire(pool).await?,
                settled: false,
            };
            match tx.run(kind.begin).await {
                Ok(()) => return Ok(tx),
                Err(fault) if stale >= pool.options().get_max_connections() => return Err(fault),
                // The server has answered: it would answer the same on any other.
                Err(fault) if fault.leaves_connection_usable() => return Err(fault),
                Err(_) => stale += 1,
            }
        }
    }

    /// Commits what went well and rolls back what did not.
    pub(super) async fn end<T>(mut self, answer: Result<T, Fault>) -> Result<T, Fault> {
        match &answer {
            Ok(_) => self.run("COMMIT").await?,
            // Its answer is the error; a failed rollback only costs the connection.
            Err(fault) if fault.leaves_connection_usable() => {
                if self.run("ROLLBACK").await.is_err() {
                    return answer;
                }
            }
            Err(_) => return answer,
        }
        self.settled = true;
        answer
    }

    async fn run(&mut self, statements: &'static str) -> Result<(), Fault> {
        sqlx::raw_sql(statements)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }
}

impl Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if self.settled {
            // The pool asks a connection that comes back whether it is alive, without a bound
            // and holding its place. Should it have gone silent since the commit, it is given
            // up here.
            let back = self.connection.return_to_pool();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(tokio::time::timeout(RETURN, back));
            }
        } else {
            self.connection.close_on_drop();
        }
    }
}

/// A duration as the statements take it, clamped to two centuries: microseconds.
pub(super) fn micros(duration: Duration) -> i64 {
    const LONGEST: Duration = Duration::from_secs(200 * 365 * 24 * 3600);
    i64::try_from(duration.min(LONGEST).as_micros()).unwrap_or(i64::MAX)
}

/// Whole and never negative: what a stored count is read as.
pub(super) fn unsigned<T: TryInto<U>, U: Default>(number: T) -> U {
    number.try_into().unwrap_or_default()
}
