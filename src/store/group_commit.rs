use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{StoreError, StoreResult};

/// How often a batch that met a deadlock or serialization failure is tried again.
const CONTENTION_RETRIES: u32 = 8;

/// How often other tasks get their turn before a batch goes as it is.
const TURNS: u32 = 8;

/// Weight of a weighed batch, in bytes, give or take a request. Batches travel in memory, in one
/// statement and in one outbox entry.
const MAX_BYTES: usize = 4 * 1024 * 1024;

struct Request<Q, A> {
    ask: Q,
    since: Instant,
    answer: oneshot::Sender<StoreResult<A>>,
}

/// Turns single requests into batches: whatever arrived while the last batch was being written
/// goes into the next one. No timer delays a lone request.
///
/// A batch that is refused for its data is bisected, so that one bad row never holds the
/// others. The queue in front is bounded: a caller waits when the store is slow, and where its
/// patience is bounded too, it is refused when its turn comes too late. Only what is not begun is:
/// a refusal is certain.
///
/// What nobody waits for any more when its turn comes is not written, and a write that every
/// caller has left is dropped: whoever gave up has told that it did not happen, or that nobody
/// knows.
#[derive(Debug)]
pub struct GroupCommit<Q, A> {
    requests: mpsc::Sender<Request<Q, A>>,
}

impl<Q, A> Clone for GroupCommit<Q, A> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
        }
    }
}

impl<Q, A> GroupCommit<Q, A>
where
    Q: Clone + Send + Sync + 'static,
    A: Send + 'static,
{
    /// Starts the task that writes batches of at most `max` requests with `write`, which
    /// answers in the order of its batch. It ends when every clone is dropped.
    pub fn spawn<W, F>(max: usize, write: W) -> Self
    where
        W: Fn(Arc<[Q]>) -> F + Send + Sync + 'static,
        F: Future<Output = StoreResult<Vec<A>>> + Send,
    {
        Self::spawn_bounded(max, |_| 0, Duration::MAX, write)
    }

    /// As [`GroupCommit::spawn`], where a batch also ends once its requests weigh 4 MiB together
    /// by `weigh`, and a request that has waited for longer than `patience` is answered
    /// [`StoreError::Overloaded`] instead of being written.
    pub fn spawn_bounded<W, F>(
        max: usize,
        weigh: fn(&Q) -> usize,
        patience: Duration,
        write: W,
    ) -> Self
    where
        W: Fn(Arc<[Q]>) -> F + Send + Sync + 'static,
        F: Future<Output = StoreResult<Vec<A>>> + Send,
    {
        let (requests, mut arrivals) = mpsc::channel::<Request<Q, A>>(max * 4);
        tokio::spawn(async move {
            let mut arrived = Vec::with_capacity(max);
            while gather(&mut arrivals, &mut arrived, max).await > 0 {
                let mut waiting = arrived.drain(..);
                while let Some((asks, mut callers)) = parcel(&mut waiting, weigh, patience) {
                    let written = tokio::select! {
                        biased;
                        written = write_all(&write, asks) => written,
                        () = all_left(&mut callers) => continue,
                    };
                    for (answer, caller) in written.into_iter().zip(callers) {
                        // Nobody waits any more: the caller was cancelled. The write stands.
                        let _ = caller.send(answer);
                    }
                }
            }
        });
        Self { requests }
    }

    /// Puts a request into the next batch and waits for its answer.
    ///
    /// # Errors
    /// What the store answered for the batch, or for this request alone if it is the reason;
    /// [`StoreError::Overloaded`] when its turn came too late; [`StoreError::Stopping`] when the
    /// writing task is gone. When the caller is dropped while
    /// waiting, the request may still be written.
    pub async fn submit(&self, ask: Q) -> StoreResult<A> {
        let (answer, answered) = oneshot::channel();
        self.requests
            .send(Request {
                ask,
                since: Instant::now(),
                answer,
            })
            .await
            .map_err(|_| StoreError::Stopping)?;
        answered.await.map_err(|_| StoreError::Stopping)?
    }
}

/// Waits for requests, and then for as long as tasks that could run at once bring more: callers who
/// are woken by one write ask for their next one together, and the first of them must not go alone.
async fn gather<T>(arrivals: &mut mpsc::Receiver<T>, arrived: &mut Vec<T>, max: usize) -> usize {
    let mut count = arrivals.recv_many(arrived, max).await;
    let mut turns = TURNS;
    while count > 0 && count < max && turns > 0 {
        turns -= 1;
        tokio::task::yield_now().await;
        let before = count;
        while count < max
            && let Ok(next) = arrivals.try_recv()
        {
            arrived.push(next);
            count += 1;
        }
        if count == before {
            break;
        }
    }
    count
}

/// Waits until no caller waits any more.
async fn all_left<A>(callers: &mut [oneshot::Sender<StoreResult<A>>]) {
    for caller in callers {
        caller.closed().await;
    }
}

/// Those whose answers one write gives.
type Callers<A> = Vec<oneshot::Sender<StoreResult<A>>>;

/// The next batch of a bounded weight, without those that nobody waits for, and those that have
/// waited too long, who are told; `None` when nothing is left.
fn parcel<Q, A>(
    waiting: &mut impl Iterator<Item = Request<Q, A>>,
    weigh: fn(&Q) -> usize,
    patience: Duration,
) -> Option<(Arc<[Q]>, Callers<A>)> {
    let (mut asks, mut callers, mut weight) = (Vec::new(), Vec::new(), 0);
    for request in waiting {
        if request.answer.is_closed() {
            continue;
        }
        if request.since.elapsed() > patience {
            let _ = request.answer.send(Err(StoreError::Overloaded));
            continue;
        }
        weight += weigh(&request.ask);
        asks.push(request.ask);
        callers.push(request.answer);
        if weight >= MAX_BYTES {
            break;
        }
    }
    (!asks.is_empty()).then(|| (asks.into(), callers))
}

/// Answers in order. Bisecting puts back two halves in order, the next one last.
async fn write_all<Q, A, W, F>(write: &W, batch: Arc<[Q]>) -> Vec<StoreResult<A>>
where
    Q: Clone,
    W: Fn(Arc<[Q]>) -> F,
    F: Future<Output = StoreResult<Vec<A>>>,
{
    let mut answers = Vec::new();
    let mut pending = vec![batch];
    while let Some(batch) = pending.pop() {
        match write_patiently(write, &batch).await {
            Ok(written) => answers.extend(written.into_iter().map(Ok)),
            Err(StoreError::Data(_)) if batch.len() > 1 => {
                let (first, second) = batch.split_at(batch.len() / 2);
                pending.push(second.into());
                pending.push(first.into());
            }
            Err(error) => {
                let shared = Arc::new(error);
                answers.extend(
                    batch
                        .iter()
                        .map(|_| Err(StoreError::Shared(shared.clone()))),
                );
            }
        }
    }
    answers
}

async fn write_patiently<Q, A, W, F>(write: &W, batch: &Arc<[Q]>) -> StoreResult<Vec<A>>
where
    W: Fn(Arc<[Q]>) -> F,
    F: Future<Output = StoreResult<Vec<A>>>,
{
    let mut tries = 0;
    loop {
        match write(batch.clone()).await {
            Err(StoreError::Contention(_)) if tries < CONTENTION_RETRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(5) * tries).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn data_error() -> StoreError {
        StoreError::Data(sqlx::Error::RowNotFound)
    }

    #[tokio::test]
    async fn a_bad_row_fails_alone() {
        let commit = GroupCommit::spawn(64, |batch: Arc<[i32]>| async move {
            if batch.contains(&13) {
                return Err(data_error());
            }
            Ok(batch.iter().map(|n| n * 2).collect())
        });
        let answers = futures::future::join_all((0..50).map(|n| commit.submit(n))).await;
        for (n, answer) in (0..50).zip(answers) {
            match answer {
                Ok(doubled) => assert_eq!(doubled, n * 2),
                Err(error) => assert_eq!(n, 13, "{error}"),
            }
        }
    }

    #[tokio::test]
    async fn what_arrives_during_a_write_shares_the_next_batch() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let seen = sizes.clone();
        let commit = GroupCommit::spawn(64, move |batch: Arc<[i32]>| {
            seen.lock().unwrap().push(batch.len());
            async move {
                tokio::task::yield_now().await;
                Ok(batch.to_vec())
            }
        });
        futures::future::join_all((0..64).map(|n| commit.submit(n))).await;
        assert!(sizes.lock().unwrap().len() < 8, "{sizes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadlock_is_tried_again() {
        let tries = Arc::new(Mutex::new(0));
        let counted = tries.clone();
        let commit = GroupCommit::spawn(8, move |batch: Arc<[i32]>| {
            let mut tries = counted.lock().unwrap();
            *tries += 1;
            let deadlock = *tries < 3;
            async move {
                if deadlock {
                    return Err(StoreError::Contention(sqlx::Error::RowNotFound));
                }
                Ok(batch.to_vec())
            }
        });
        assert_eq!(commit.submit(5).await.unwrap(), 5);
        assert_eq!(*tries.lock().unwrap(), 3);
    }

    #[tokio::test]
    async fn a_batch_is_bounded_by_weight_and_answers_stay_in_order() {
        let heaviest = Arc::new(Mutex::new(0));
        let seen = heaviest.clone();
        let weigh = |bytes: &usize| *bytes;
        let commit =
            GroupCommit::spawn_bounded(64, weigh, Duration::MAX, move |batch: Arc<[usize]>| {
                let weight: usize = batch.iter().sum();
                let mut heaviest = seen.lock().unwrap();
                *heaviest = weight.max(*heaviest);
                async move { Ok(batch.to_vec()) }
            });
        let asks: Vec<usize> = (0..64).map(|n| n * MAX_BYTES / 64).collect();
        let answers = futures::future::join_all(asks.iter().map(|n| commit.submit(*n))).await;
        for (ask, answer) in asks.iter().zip(answers) {
            assert_eq!(answer.unwrap(), *ask);
        }
        assert!(*heaviest.lock().unwrap() < 2 * MAX_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_not_written() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let seen = written.clone();
        let commit = GroupCommit::spawn(8, move |batch: Arc<[i32]>| {
            let seen = seen.clone();
            async move {
                if batch.contains(&1) {
                    std::future::pending::<()>().await;
                }
                seen.lock().unwrap().extend_from_slice(&batch);
                Ok(batch.to_vec())
            }
        });
        let short = Duration::from_millis(10);
        // The first hangs in its write, the second behind it; both give up.
        let (first, second) = tokio::join!(
            tokio::time::timeout(short, commit.submit(1)),
            tokio::time::timeout(short * 2, async {
                tokio::time::sleep(short / 2).await;
                commit.submit(2).await
            }),
        );
        assert!(first.is_err());
        assert_eq!(second.unwrap().unwrap(), 2, "the hanging write was dropped");
        let (hanging, given_up, waiting) = tokio::join!(
            tokio::time::timeout(short * 3, commit.submit(1)),
            tokio::time::timeout(short, async {
                tokio::time::sleep(short / 2).await;
                commit.submit(3).await
            }),
            async {
                tokio::time::sleep(short / 2).await;
                commit.submit(4).await
            },
        );
        assert!(hanging.is_err() && given_up.is_err());
        assert_eq!(waiting.unwrap(), 4);
        assert_eq!(*written.lock().unwrap(), [2, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waited_too_long_is_refused_and_never_written() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let seen = written.clone();
        let patience = Duration::from_secs(5);
        // Two a batch by weight, and each batch takes longer than half of the patience.
        let weigh = |_: &i32| MAX_BYTES / 2;
        let commit = GroupCommit::spawn_bounded(8, weigh, patience, move |batch: Arc<[i32]>| {
            let seen = seen.clone();
            async move {
                tokio::time::sleep(patience * 2 / 3).await;
                seen.lock().unwrap().extend_from_slice(&batch);
                Ok(batch.to_vec())
            }
        });
        let answers = futures::future::join_all((0..40).map(|n| commit.submit(n))).await;
        let mut accepted = Vec::new();
        for answer in answers {
            match answer {
                Ok(n) => accepted.push(n),
                Err(error) => assert!(matches!(error, StoreError::Overloaded), "{error}"),
            }
        }
        assert_eq!(accepted, [0, 1, 2, 3], "begun in time");
        assert_eq!(*written.lock().unwrap(), accepted);
        assert_eq!(commit.submit(99).await.unwrap(), 99, "it goes on");
    }

    #[tokio::test]
    async fn an_outage_answers_everyone() {
        let commit = GroupCommit::spawn(8, |_: Arc<[i32]>| async {
            Err::<Vec<i32>, _>(StoreError::Unavailable(sqlx::Error::PoolTimedOut))
        });
        let answers = futures::future::join_all((0..5).map(|n| commit.submit(n))).await;
        assert!(answers.into_iter().all(|a| a.unwrap_err().is_transient()));
    }
}
