use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use subtle::ConstantTimeEq;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{Problem, problems};
use crate::store::{ApiKey, KeyDigest, KeyId, Scopes, Store, StoreResult};

/// How often the keys are read: what was revoked is refused after this long at most.
const EVERY: Duration = Duration::from_secs(1);
/// The least time between two reads, however many unknown keys are tried.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a call waits for the keys to be read again. A store that is down is told within it.
const PATIENCE: Duration = Duration::from_millis(800);
/// How old the last good read may be: after that nobody is let through on its word, for what was
/// revoked since is not known.
const STALE: Duration = Duration::from_secs(5);
/// How often it is written which keys were used.
const TOUCH_EVERY: Duration = Duration::from_secs(10);

/// The keys that are in force, as they were read a moment ago.
#[derive(Debug)]
pub(super) struct KnownKeys {
    read: watch::Receiver<Arc<Read>>,
    wanted: Arc<Notify>,
    used: Arc<Mutex<HashSet<KeyId>>>,
}

/// What the last read found.
#[derive(Debug)]
struct Read {
    /// By the first bytes of the digest, which are no secret: what they let through is compared
    /// whole, in constant time.
    in_force: HashMap<[u8; 8], Arc<KnownKey>>,
    /// Whether there ever was a key.
    any_ever: bool,
    /// When the last try began, and whether it failed.
    tried: Instant,
    failed: bool,
    /// When the last try began that did not fail.
    good: Instant,
}

/// A key that is in force.
#[derive(Debug)]
pub(super) struct KnownKey {
    pub(super) id: KeyId,
    pub(super) name: String,
    pub(super) scopes: Scopes,
    digest: KeyDigest,
    rate: Option<NonZeroU32>,
    // Of this process, since the key was first read.
    budget: Option<Arc<DefaultDirectRateLimiter>>,
}

/// What a digest belongs to.
#[derive(Debug)]
pub(super) enum Found {
    Key(Arc<KnownKey>),
    Nothing,
}

impl KnownKeys {
    /// Reads the keys, and goes on reading them until this is dropped.
    pub(super) async fn start(store: Arc<dyn Store>) -> StoreResult<Self> {
        let began = Instant::now();
        let first = Read::new(store.keys().await?, began, &HashMap::new());
        let (sender, read) = watch::channel(Arc::new(first));
        let wanted = Arc::new(Notify::new());
        let used = Arc::new(Mutex::default());
        let reader = Reader {
            store,
            sender,
            wanted: Arc::downgrade(&wanted),
            used: Arc::downgrade(&used),
        };
        tokio::spawn(reader.run());
        Ok(Self { read, wanted, used })
    }

    pub(super) fn any_ever(&self) -> bool {
        self.read.borrow().any_ever
    }

    pub(super) fn any_in_force(&self) -> bool {
        !self.read.borrow().in_force.is_empty()
    }

    /// The key with this digest. One that is not known may have been made a moment ago: then
    /// the keys are read once more, for all who ask at that time together.
    pub(super) async fn find(&self, digest: &KeyDigest) -> Result<Found, Problem> {
        if self.fresh()
            && let Some(key) = self.known(digest)
        {
            return Ok(Found::Key(key));
        }
        self.read_again().await?;
        Ok(self.known(digest).map_or(Found::Nothing, Found::Key))
    }

    /// Makes sure that what is known is not older than a few seconds.
    pub(super) async fn refresh(&self) -> Result<(), Problem> {
        if self.fresh() {
            return Ok(());
        }
        self.read_again().await
    }

    fn fresh(&self) -> bool {
        self.read.borrow().good.elapsed() < STALE
    }

    async fn read_again(&self) -> Result<(), Problem> {
        let asked = Instant::now();
        let mut read = self.read.clone();
        self.wanted.notify_one();
        let tried = read.wait_for(|read| read.tried >= asked);
        match tokio::time::timeout(PATIENCE, tried).await {
            Ok(Ok(read)) if !read.failed => Ok(()),
            _ => {
                let detail = "the store does not answer, so the key cannot be checked; try again";
                Err(Problem::new(problems::STORE_UNAVAILABLE, detail).retry_after(1))
            }
        }
    }

    fn known(&self, digest: &KeyDigest) -> Option<Arc<KnownKey>> {
        let key = self.read.borrow().in_force.get(&begin(digest))?.clone();
        if !bool::from(key.digest.ct_eq(digest)) {
            return None;
        }
        lock(&self.used).insert(key.id);
        Some(key)
    }
}

impl KnownKey {
    /// Takes one call out of the key's budget.
    pub(super) fn spend(&self) -> Result<(), Problem> {
        let Some(Err(early)) = self.budget.as_ref().map(|budget| budget.check()) else {
            return Ok(());
        };
        let wait = early.wait_time_from(DefaultClock::default().now());
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        let rate = self.rate.map_or(0, NonZeroU32::get);
        let detail = format!("key `{}` may make {rate} calls a second; wait", self.name);
        Err(Problem::new(problems::RATE_LIMITED, detail).retry_after(seconds.max(1)))
    }
}

impl Read {
    fn new(keys: Vec<ApiKey>, tried: Instant, before: &HashMap<[u8; 8], Arc<KnownKey>>) -> Self {
        let any_ever = !keys.is_empty();
        let in_force = keys
            .into_iter()
            .filter(|key| key.revoked_at.is_none())
            .map(|key| {
                let begin = begin(&key.digest);
                (begin, known(key, before.get(&begin)))
            })
            .collect();
        Self {
            in_force,
            any_ever,
            tried,
            failed: false,
            good: tried,
        }
    }
}

/// A key keeps its budget from one read to the next.
fn known(key: ApiKey, before: Option<&Arc<KnownKey>>) -> Arc<KnownKey> {
    if let Some(before) = before.filter(|before| before.id == key.id) {
        return before.clone();
    }
    Arc::new(KnownKey {
        id: key.id,
        name: key.name,
        scopes: key.scopes,
        digest: key.digest,
        rate: key.rate,
        budget: key
            .rate
            .map(|rate| Arc::new(RateLimiter::direct(Quota::per_second(rate)))),
    })
}

fn begin(digest: &KeyDigest) -> [u8; 8] {
    let mut begin = [0; 8];
    begin.copy_from_slice(&digest[..8]);
    begin
}

/// Keeps what is known up to date.
#[derive(Debug)]
struct Reader {
    store: Arc<dyn Store>,
    sender: watch::Sender<Arc<Read>>,
    wanted: Weak<Notify>,
    used: Weak<Mutex<HashSet<KeyId>>>,
}

impl Reader {
    /// Until nobody asks any more.
    async fn run(self) {
        let mut touched = Instant::now();
        // A task of its own: however slow it is, revocation is noticed in time.
        let mut touching: Option<JoinHandle<()>> = None;
        loop {
            tokio::time::sleep(PAUSE).await;
            let Some(wanted) = self.wanted.upgrade() else {
                return;
            };
            let _ = tokio::time::timeout(EVERY - PAUSE, wanted.notified()).await;
            drop(wanted);
            self.read().await;
            let free = touching.as_ref().is_none_or(JoinHandle::is_finished);
            if free && touched.elapsed() >= TOUCH_EVERY {
                touched = Instant::now();
                touching = self.touch();
            }
        }
    }

    async fn read(&self) {
        let tried = Instant::now();
        let before = self.sender.borrow().clone();
        let now = match self.store.keys().await {
            Ok(keys) => Read::new(keys, tried, &before.in_force),
            Err(error) => {
                if !before.failed {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot read the API keys; those known stay in force for a few seconds"
                    );
                }
                Read {
                    in_force: before.in_force.clone(),
                    any_ever: before.any_ever,
                    tried,
                    failed: true,
                    good: before.good,
                }
            }
        };
        self.sender.send_replace(Arc::new(now));
    }

    fn touch(&self) -> Option<JoinHandle<()>> {
        let used = self.used.upgrade()?;
        let keys: Vec<KeyId> = lock(&used).drain().collect();
        let store = self.store.clone();
        Some(tokio::spawn(async move {
            if let Err(error) = store.touch_keys(&keys).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "cannot write which API keys were used"
                );
            }
        }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As after a read that began so long ago, with nobody who reads again.
    fn known_for(age: Duration) -> (KnownKeys, watch::Sender<Arc<Read>>) {
        let now = Instant::now();
        let key = ApiKey {
            id: KeyId(1),
            name: "shop".to_owned(),
            prefix: "lsk_".to_owned(),
            digest: [7; 32],
            scopes: Scopes::ALL,
            rate: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            last_used_at: None,
            revoked_at: None,
        };
        let began = now.checked_sub(age).unwrap();
        let (sender, read) = watch::channel(Arc::new(Read::new(vec![key], began, &HashMap::new())));
        let keys = KnownKeys {
            read,
            wanted: Arc::default(),
            used: Arc::default(),
        };
        (keys, sender)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_long_ago_lets_nobody_through() {
        let (keys, _sender) = known_for(Duration::ZERO);
        assert!(matches!(keys.find(&[7; 32]).await, Ok(Found::Key(_))));
        assert!(keys.refresh().await.is_ok());
        let (keys, sender) = known_for(STALE);
        for refused in [keys.find(&[7; 32]).await.err(), keys.refresh().await.err()] {
            assert_eq!(refused.unwrap().body()["code"], "store_unavailable");
        }
        // A try that failed tells nothing.
        let failed = |read: &Arc<Read>| Read {
            in_force: read.in_force.clone(),
            any_ever: true,
            tried: Instant::now() + STALE,
            failed: true,
            good: read.good,
        };
        let next = failed(&sender.borrow());
        sender.send_replace(Arc::new(next));
        assert!(keys.find(&[7; 32]).await.is_err());
        let next = Read {
            failed: false,
            good: Instant::now(),
            ..failed(&sender.borrow())
        };
        sender.send_replace(Arc::new(next));
        assert!(matches!(keys.find(&[7; 32]).await, Ok(Found::Key(_))));
    }
}
