use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::CliError;

/// How often the runtime is asked for a sign of life.
const TICK: Duration = Duration::from_secs(1);
/// Ticks in a row without one after which the process ends. Others declare it dead after 10 s
/// without a heartbeat; then all that it could still do is refused.
const LIMIT: u32 = 15;
/// How long the last log line may take.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Ends a process whose runtime stands still: handlers block all of its threads, so that it
/// neither works nor beats nor stops, and no supervisor would notice. The exit code is 1.
///
/// It counts its own ticks and not the clock: a process that was frozen wakes with one tick, not
/// with all the time that has passed.
#[derive(Debug)]
pub(super) struct Watchdog(Arc<AtomicBool>);

impl Watchdog {
    /// Watches from a thread of its own until it is dropped.
    pub(super) fn start(runtime: &Handle) -> Result<Self, CliError> {
        let ended = Arc::new(AtomicBool::new(false));
        let (runtime, told) = (runtime.clone(), ended.clone());
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                if stands_still(&runtime, &told, TICK) {
                    end();
                }
            })
            .map_err(CliError::failed)?;
        Ok(Self(ended))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// True once the runtime gives no sign; false once nobody wants to know.
fn stands_still(runtime: &Handle, ended: &AtomicBool, tick: Duration) -> bool {
    let signs = Arc::new(AtomicU64::new(0));
    let (mut seen, mut still) = (0, 0);
    loop {
        // From outside of the runtime, so that any of its threads may take it: a task that wakes
        // may be bound to a thread that is blocked.
        let sign = signs.clone();
        runtime.spawn(async move { sign.fetch_add(1, Ordering::SeqCst) });
        std::thread::sleep(tick);
        if ended.load(Ordering::SeqCst) {
            return false;
        }
        let now = signs.load(Ordering::SeqCst);
        still = if now == seen { still + 1 } else { 0 };
        seen = now;
        if still >= LIMIT {
            return true;
        }
    }
}

fn end() -> ! {
    // In a thread of its own: whoever blocks may hold the log.
    std::thread::spawn(|| {
        tracing::error!(
            runtime.still_s = u64::from(LIMIT) * TICK.as_secs(),
            "every thread is blocked by a handler: ending, so that the jobs run elsewhere and the \
             supervisor starts this process again"
        );
    });
    std::thread::sleep(LAST_WORDS);
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_with_one_free_thread_lives_and_one_without_stands_still() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let (free, blocked) = (Arc::new(AtomicBool::new(false)), runtime.handle().clone());
        let block = |until: Arc<AtomicBool>| {
            blocked.spawn(async move {
                while !until.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
        };
        let (ended, tick) = (Arc::new(AtomicBool::new(false)), Duration::from_millis(200));
        block(free.clone());
        let handle = blocked.clone();
        let watching = std::thread::spawn(move || stands_still(&handle, &ended, tick));
        std::thread::sleep(tick * (LIMIT + 3));
        assert!(!watching.is_finished(), "one thread is enough");
        block(free.clone());
        assert!(watching.join().unwrap());
        free.store(true, Ordering::SeqCst);
    }
}
