use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::store::Store;

/// How often a store that answers is asked.
const EVERY: Duration = Duration::from_millis(200);
/// A store that has not answered for this long is silent. With the way of the answer it is
/// still told within a second.
const SILENCE: Duration = Duration::from_millis(750);
/// How long one question to a silent store is given: it may be about to come back.
const PATIENCE: Duration = Duration::from_millis(500);
/// How soon a store that refuses is asked again.
const REFUSED: Duration = Duration::from_millis(50);

/// Whether the store answers, known to all who would ask it: while it is silent nobody waits
/// for it to say so. A call that is merely slow is not cut off as long as others are
/// answered. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pulse(watch::Receiver<bool>);

/// Of no store, which is never silent.
impl Default for Pulse {
    fn default() -> Self {
        Self(watch::channel(true).1)
    }
}

impl Pulse {
    /// Starts the task that asks; it ends with the last clone.
    #[must_use]
    pub fn start(store: Arc<dyn Store>) -> Self {
        let (answers, pulse) = watch::channel(true);
        tokio::spawn(async move {
            tokio::select! {
                () = ask(&*store, &answers) => {}
                () = answers.closed() => {}
            }
        });
        Self(pulse)
    }

    /// Does the work, unless the store is silent or falls silent on the way: then `None`, and
    /// the work is dropped wherever it stood. A write that it waited for may still happen.
    pub async fn unless_silent<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut answers = self.0.clone();
        if !*answers.borrow_and_update() {
            return None;
        }
        let silent = async {
            if answers.wait_for(|answers| !answers).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            // What is done is told, also when the store fell silent right after.
            biased;
            done = work => Some(done),
            () = silent => None,
        }
    }
}

async fn ask(store: &dyn Store, answers: &watch::Sender<bool>) {
    let mut heard = Instant::now();
    loop {
        let until = match *answers.borrow() {
            true => heard + SILENCE,
            false => Instant::now() + PATIENCE,
        };
        let answer = timeout_at(until, store.ping()).await;
        let nap = match answer {
            Ok(Ok(())) => {
                heard = Instant::now();
                EVERY
            }
            Ok(Err(_)) => REFUSED,
            Err(_) => Duration::ZERO,
        };
        let now = heard.elapsed() < SILENCE;
        if answers.send_if_modified(|known| std::mem::replace(known, now) != now) {
            report(now);
        }
        tokio::time::sleep(nap).await;
    }
}

fn report(answers: bool) {
    if answers {
        tracing::info!("the store answers again");
    } else {
        tracing::warn!("the store is silent; calls that need it are refused until it answers");
    }
}
