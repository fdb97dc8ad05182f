//! Everything outside the processes: the database, the broker, the receivers of effects, and the
//! hosts. One lock, held for an instant; one random source; one trace.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::broker::Exchange;
use crate::ledger::Ledger;
use crate::plan::{Knobs, Plan};
use crate::rng::Rng;
use crate::store::Db;
use crate::trace::Trace;

/// Microseconds of virtual time since the simulation began.
pub(crate) type Micros = u64;

pub(crate) const SECOND: Micros = 1_000_000;

/// A mistake that is built into the simulated store, broker or driver, to see that it is caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// An outcome is written whoever owns the run.
    NoEpochCheck,
    /// A claim takes what is queued, under whatever dispatch.
    NoDispatchCheck,
    /// A delivery is acknowledged when it is handed out.
    AcknowledgeFirst,
    /// Jobs are on the broker before they are committed.
    PublishFirst,
    /// A process is declared dead though its counter has moved on.
    UnfencedRescue,
    /// An outbox entry is leased to everybody who asks.
    DoubleLease,
    /// What was lost on the broker is not published again.
    NoRepublish,
    /// A crash counts as a failed attempt.
    CrashBurnsAttempt,
    /// A handler's transaction commits without looking at the fence.
    UnfencedEffect,
}

/// A machine that runs one process at a time.
#[derive(Debug, Default)]
pub(crate) struct Host {
    /// Raised at each boot; 0 before the first.
    pub(crate) incarnation: u32,
    pub(crate) up: bool,
    /// Killed from inside: nothing that it does reaches the outside any more.
    pub(crate) doomed: bool,
    pub(crate) drained: bool,
    /// Calls to the outside, over all incarnations.
    pub(crate) calls: u64,
    /// The call at which it is killed, and whether after it took effect.
    pub(crate) dies_at: Option<(u64, bool)>,
    /// Calls left in this turn.
    pub(crate) turn: u64,
    pub(crate) turn_over: Arc<Notify>,
    pub(crate) no_store_until: Micros,
    pub(crate) no_broker_until: Micros,
    /// When its connections to the broker were last lost.
    pub(crate) disconnected: Option<Micros>,
    /// Times in which others may rightly take it for dead.
    pub(crate) disturbed: Vec<(Micros, Micros)>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) rng: Rng,
    /// The latest moment anybody has seen. The store's clock.
    pub(crate) now: Micros,
    pub(crate) trace: Trace,
    pub(crate) violations: Vec<String>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) db: Db,
    /// What a failover would leave of the database.
    pub(crate) replica: Option<(Micros, Db)>,
    /// The commits between these moments were lost.
    pub(crate) forgotten: Option<(Micros, Micros)>,
    pub(crate) store_down_until: Micros,
    pub(crate) store_stalled_until: Micros,
    pub(crate) exchange: Exchange,
    pub(crate) ledger: Ledger,
    /// No fault has struck yet, and none will but the planned ones.
    pub(crate) untroubled: bool,
    pub(crate) knobs: Knobs,
    pub(crate) bug: Option<Bug>,
}

impl State {
    pub(crate) fn violated(&mut self, what: impl std::fmt::Display) {
        let text = format!("{:>9.3} s  {what}", self.now as f64 / 1e6);
        self.trace.note(self.now, || format!("VIOLATED {what}"));
        self.violations.push(text);
    }

    /// Whether that host may have been taken for dead for good reason at some time since.
    pub(crate) fn disturbed_since(&self, host: usize, since: Micros) -> bool {
        let reach = since.saturating_sub(12 * SECOND);
        self.hosts[host]
            .disturbed
            .iter()
            .any(|(_, to)| *to >= reach)
            || self.forgotten.is_some_and(|(_, until)| until >= reach)
    }
}

#[derive(Debug)]
pub(crate) struct World(Mutex<State>);

impl World {
    pub(crate) fn new(plan: &Plan, bug: Option<Bug>, verbose: bool) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            rng: Rng::new(plan.seed ^ 0x5eed),
            now: 0,
            trace: Trace::new(verbose),
            violations: Vec::new(),
            hosts: (0..plan.hosts).map(|_| Host::default()).collect(),
            db: Db::default(),
            replica: None,
            forgotten: None,
            store_down_until: 0,
            store_stalled_until: 0,
            exchange: Exchange::default(),
            ledger: Ledger::new(&plan.jobs),
            untroubled: plan.calm,
            knobs: plan.knobs,
            bug,
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process's way to the outside: everything it does there passes through [`Port::call`].
#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) world: Arc<World>,
    pub(crate) host: usize,
    pub(crate) incarnation: u32,
    /// The process's own clock at its boot, and the world's.
    booted: (Instant, Micros),
}

/// What the network has in store for a call.
struct Weather {
    before: Duration,
    after: Duration,
    dies: Option<bool>,
}

impl Port {
    /// Of the process that boots now, in whose runtime this is called.
    pub(crate) fn new(world: Arc<World>, host: usize, incarnation: u32, now: Micros) -> Self {
        Self {
            world,
            host,
            incarnation,
            booted: (Instant::now(), now),
        }
    }

    pub(crate) fn now(&self) -> Micros {
        self.booted.1 + u64::try_from(self.booted.0.elapsed().as_micros()).unwrap()
    }

    /// The process's clock at that moment of the world's.
    pub(crate) fn instant(&self, at: Micros) -> Instant {
        self.booted.0 + Duration::from_micros(at.saturating_sub(self.booted.1))
    }

    /// Looks at the world, whose clock has come at least as far as this process's.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let now = self.now();
        let mut state = self.world.lock();
        state.now = state.now.max(now);
        look(&mut state)
    }

    /// Does something outside at one instant, with the network's delays around it. A process
    /// that was killed never gets there, or never hears of it.
    pub(crate) async fn call<T>(
        &self,
        what: &'static str,
        quiet: bool,
        act: impl FnOnce(&mut State) -> T,
    ) -> T {
        let weather = self.with(|state| self.weather(state, quiet));
        if !weather.before.is_zero() {
            tokio::time::sleep(weather.before).await;
        }
        if weather.dies == Some(false) {
            self.die(what, "before");
        }
        self.stop_if_dead().await;
        let done = self.with(|state| {
            let (host, now) = (self.host, state.now);
            if !quiet {
                state.trace.step(now, host, what);
            }
            act(state)
        });
        if weather.dies == Some(true) {
            self.die(what, "after");
            self.stop_if_dead().await;
        }
        if !weather.after.is_zero() {
            tokio::time::sleep(weather.after).await;
        }
        self.stop_if_dead().await;
        done
    }

    fn weather(&self, state: &mut State, quiet: bool) -> Weather {
        let slow = state.knobs.slow;
        let rng = &mut state.rng;
        let mut delay = || match rng.range(0..100) {
            _ if quiet => 0,
            0..50 => 0,
            n if n < 100 - u64::from(slow) => rng.range(1..4),
            _ => rng.range(5..400),
        };
        let (before, after) = (delay(), delay());
        let host = &mut state.hosts[self.host];
        host.calls += 1;
        host.turn = host.turn.saturating_sub(1);
        if host.turn == 0 {
            host.turn_over.notify_one();
        }
        let dies = host.dies_at.filter(|(at, _)| host.calls >= *at);
        if dies.is_some() {
            host.dies_at = None;
        }
        Weather {
            before: Duration::from_millis(before),
            after: Duration::from_millis(after),
            dies: dies.map(|(_, after)| after),
        }
    }

    fn die(&self, what: &str, when: &str) {
        self.with(|state| {
            let (host, now) = (self.host, state.now);
            state
                .trace
                .note(now, || format!("host {host} dies {when} `{what}`"));
            state.hosts[host].doomed = true;
            state.hosts[host].turn_over.notify_one();
        });
    }

    /// Never returns in a process that was killed.
    pub(crate) async fn stop_if_dead(&self) {
        let dead = self.with(|state| {
            let host = &state.hosts[self.host];
            host.doomed || host.incarnation != self.incarnation
        });
        if dead {
            std::future::pending::<()>().await;
        }
    }
}
