use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Observer;
use super::board::Board;
use super::outage::Outage;
use crate::job::ProcessId;
use crate::store::{Beat, NewProcess, ProcessBeat, Store, StoreError, StoreResult};

/// How often every counter is read. Twice the beat's rate, so that one slow read does not make
/// a gap of over 2 s.
const READ_EVERY: Duration = Duration::from_secs(1);
/// Reads per beat: one beat every 2 s.
const READS_PER_BEAT: u32 = 2;
/// A process whose last beat is older starts nothing: it may be declared dead in 2 s.
const STALE: Duration = Duration::from_secs(8);

/// What became of a process that held something we wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It beats: it will finish, or be found dead later and rescued.
    Alive,
    /// It was declared dead, or ended.
    Gone,
}

/// This process's heartbeat and its view of the others'.
#[derive(Debug)]
pub struct Liveness {
    store: Arc<dyn Store>,
    profile: NewProcess,
    me: Board<ProcessId>,
    /// When the last beat that committed began.
    last_beat: Mutex<Instant>,
    beats: Board<HashMap<ProcessId, i64>>,
    suspects: watch::Sender<Vec<ProcessBeat>>,
    outage: Outage,
}

impl Liveness {
    /// Registers this process. Nothing beats until [`Liveness::run`].
    ///
    /// # Errors
    /// Those of [`Store::register`].
    pub async fn register(store: Arc<dyn Store>, profile: NewProcess) -> StoreResult<Arc<Self>> {
        let began = Instant::now();
        let me = store.register(&profile).await?;
        Ok(Arc::new(Self {
            store,
            profile,
            me: Board::new(me),
            last_beat: Mutex::new(began),
            beats: Board::new(HashMap::new()),
            suspects: watch::Sender::default(),
            outage: Outage::default(),
        }))
    }

    /// The number under which this process claims now.
    #[must_use]
    pub fn me(&self) -> ProcessId {
        self.me.read(|me| *me)
    }

    /// Until this process goes under another number than `number`, because it was declared dead:
    /// whatever it claimed under that one is no longer its own.
    pub async fn lost(&self, number: ProcessId) {
        let mut seen = self.me.version();
        while self.me() == number {
            seen = self.me.after(seen).await;
        }
    }

    /// True while the last beat is young enough to start something.
    #[must_use]
    pub fn fresh(&self) -> bool {
        let last = *self
            .last_beat
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last.elapsed() < STALE
    }

    /// Processes that have been silent too long, newly found ones each time it changes.
    #[must_use]
    pub fn suspects(&self) -> watch::Receiver<Vec<ProcessBeat>> {
        self.suspects.subscribe()
    }

    /// Tells that `what` failed and is tried again; quietly while the heartbeat has told
    /// already that the database does not answer.
    pub fn report(&self, what: &str, error: &StoreError) {
        self.outage.report(what, error);
    }

    /// Waits until it is known whether `other` lives.
    ///
    /// The baseline is a read that began after the call, so that a beat from before it cannot
    /// pass for a sign of life.
    pub async fn fate(&self, other: ProcessId) -> Fate {
        let counter = || self.beats.read(|beats| beats.get(&other).copied());
        // The read under way may have begun before the call: let it pass.
        let mut seen = self.beats.version();
        for _ in 0..2 {
            seen = self.beats.after(seen).await;
        }
        let Some(baseline) = counter() else {
            return Fate::Gone;
        };
        loop {
            seen = self.beats.after(seen).await;
            match counter() {
                None => return Fate::Gone,
                Some(counter) if counter > baseline => return Fate::Alive,
                Some(_) => {}
            }
        }
    }

    /// Beats and watches until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut observer = Observer::default();
        let mut ticks = tokio::time::interval(READ_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reads = 0;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if reads % READS_PER_BEAT == 0 && !self.beat().await {
                observer.interrupted();
            }
            reads += 1;
            self.watch(&mut observer).await;
        }
    }

    /// Raises our counter; false if that failed.
    async fn beat(&self) -> bool {
        // Counted from before the call: the commit cannot be younger than that.
        let began = Instant::now();
        match self.store.beat(self.me()).await {
            Ok(Beat::Counted) => {
                self.beaten(began);
                self.outage.end();
                true
            }
            Ok(Beat::Dead) => self.rise().await,
            Err(error) => {
                self.outage.begin(&error);
                false
            }
        }
    }

    fn beaten(&self, began: Instant) {
        *self
            .last_beat
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = began;
    }

    /// Declared dead (this process was frozen or cut off): take a new number. The old one never
    /// beats again, so every result that was claimed under it is refused.
    async fn rise(&self) -> bool {
        let old = self.me();
        let began = Instant::now();
        match self.store.register(&self.profile).await {
            Ok(new) => {
                tracing::warn!(
                    process.old = old.0,
                    process.new = new.0,
                    "this process had been declared dead; it goes on under a new number"
                );
                self.me.post(new);
                self.beaten(began);
                true
            }
            Err(error) => {
                self.report("registering anew", &error);
                false
            }
        }
    }

    async fn watch(&self, observer: &mut Observer) {
        let began = Instant::now();
        match self.store.beats().await {
            Ok(beats) => {
                let suspects = observer.read(began, self.me(), &beats);
                let counters = beats.iter().map(|b| (b.process, b.counter)).collect();
                self.beats.post(counters);
                if !suspects.is_empty() {
                    self.suspects.send_replace(suspects);
                }
            }
            Err(error) => {
                self.report("reading heartbeats", &error);
                observer.interrupted();
            }
        }
    }
}
