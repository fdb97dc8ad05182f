//! The store of a simulation: what `Store` promises, on maps in memory, behind a network that
//! fails.

mod calls;
mod db;
mod effect;
mod operations;
mod outbox;
mod runs;
mod unused;

use longshore::store::{StoreError, StoreResult};

pub(crate) use db::{Db, Entry};

use crate::world::{Micros, Port, State};

/// How long a call waits for a store that does not answer.
const PATIENCE: Micros = 5_000_000;
/// How often a call looks whether a lock is gone, or the store is back.
const LOOK: std::time::Duration = std::time::Duration::from_millis(7);

/// A process's connections to the database.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedStore {
    pub(crate) port: Port,
}

/// How a call fares on its way.
enum Way {
    Through { reply_lost: bool },
    Refused,
    Wait,
}

fn unavailable() -> StoreError {
    StoreError::Unavailable(sqlx::Error::PoolTimedOut)
}

/// The answer to what no simulated process asks.
fn unused<T>() -> StoreResult<T> {
    Err(unavailable())
}

impl SimulatedStore {
    pub(crate) const fn new(port: Port) -> Self {
        Self { port }
    }

    /// One transaction.
    async fn call<T>(
        &self,
        what: &'static str,
        act: impl FnOnce(&mut State) -> T,
    ) -> StoreResult<T> {
        self.call_unlocked(what, false, |_| false, act).await
    }

    /// A look that mostly finds nothing: without a trace, and without delays.
    async fn look<T>(
        &self,
        what: &'static str,
        act: impl FnOnce(&mut State) -> T,
    ) -> StoreResult<T> {
        self.call_unlocked(what, true, |_| false, act).await
    }

    /// One transaction that first waits while rows that it writes are `locked`.
    async fn call_unlocked<T>(
        &self,
        what: &'static str,
        quiet: bool,
        locked: impl Fn(&mut State) -> bool,
        act: impl FnOnce(&mut State) -> T,
    ) -> StoreResult<T> {
        let began = self.port.now();
        let mut act = Some(act);
        loop {
            let answer = self.port.call(what, quiet, |state| {
                let stalled = self.port.now() > began + PATIENCE;
                let way = way(state, self.port.host, stalled);
                let way = match way {
                    Way::Through { .. } if locked(state) => Way::Wait,
                    way => way,
                };
                match way {
                    Way::Wait => None,
                    Way::Refused => {
                        let now = state.now;
                        state.trace.note(now, || format!("`{what}` fails"));
                        Some(Err(unavailable()))
                    }
                    Way::Through { reply_lost } => {
                        let act = act.take()?;
                        let done = act(state);
                        let now = state.now;
                        if reply_lost {
                            state
                                .trace
                                .note(now, || format!("the answer to `{what}` is lost"));
                        }
                        Some(if reply_lost {
                            Err(unavailable())
                        } else {
                            Ok(done)
                        })
                    }
                }
            });
            match answer.await {
                Some(answer) => return answer,
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

fn way(state: &mut State, host: usize, stalled: bool) -> Way {
    let now = state.now;
    if now < state.store_down_until || now < state.hosts[host].no_store_until {
        return Way::Refused;
    }
    if now < state.store_stalled_until {
        return if stalled { Way::Refused } else { Way::Wait };
    }
    let knobs = state.knobs;
    if now >= knobs.until {
        return Way::Through { reply_lost: false };
    }
    if state.rng.in_a_million(knobs.store_fails) {
        return Way::Refused;
    }
    let reply_lost = state.rng.in_a_million(knobs.reply_lost);
    Way::Through { reply_lost }
}
