use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// The places that a server has for connections.
#[derive(Debug)]
pub(super) struct Seats {
    limit: usize,
    /// A connection that has been idle for less is left alone: its request may be on its way,
    /// or have arrived and not be read yet.
    grace: Duration,
    taken: Mutex<Taken>,
    cut: CancellationToken,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    seats: HashMap<u64, Arc<Seat>>,
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Seat {
    // `None` while a request is under way.
    idle_since: Mutex<Option<Instant>>,
    leave: CancellationToken,
}

/// Holds a place until it is dropped.
#[derive(Debug)]
pub(super) struct Taking {
    seats: Arc<Seats>,
    number: u64,
    pub(super) seat: Arc<Seat>,
}

/// Keeps a place from being given to another connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Seat>);

impl Seats {
    pub(super) fn new(limit: usize, grace: Duration) -> Self {
        Self {
            limit,
            grace,
            taken: Mutex::default(),
            cut: CancellationToken::new(),
        }
    }

    /// A place; if all are taken, that of the connection that has been idle longest, which has
    /// to leave; `None` if none has been idle for long enough.
    pub(super) fn take(self: &Arc<Self>) -> Option<Taking> {
        let mut taken = lock(&self.taken);
        if taken.seats.len() >= self.limit {
            let now = Instant::now();
            let idle = |(number, seat): (&u64, &Arc<Seat>)| {
                let since = seat.idle_since()?;
                (now.saturating_duration_since(since) >= self.grace).then_some((since, *number))
            };
            let (_, longest) = taken.seats.iter().filter_map(idle).min()?;
            if let Some(seat) = taken.seats.remove(&longest) {
                seat.leave();
            }
        }
        let number = taken.next;
        taken.next += 1;
        let seat = Arc::new(Seat {
            idle_since: Mutex::new(Some(Instant::now())),
            leave: CancellationToken::new(),
        });
        taken.seats.insert(number, seat.clone());
        Some(Taking {
            seats: self.clone(),
            number,
            seat,
        })
    }

    /// Ends every connection, whatever is under way on it.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }
}

impl Taking {
    /// Until the connection must end, whatever is under way on it.
    pub(super) async fn cut(&self) {
        self.seats.cut.cancelled().await;
    }
}

impl Seat {
    /// A request is under way.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        *lock(&self.idle_since) = None;
        Busy(self.clone())
    }

    /// The connection must go: at once, or, if a request has come meanwhile, after its answer.
    fn leave(&self) {
        self.leave.cancel();
    }

    /// Until it must go.
    pub(super) async fn left(&self) {
        self.leave.cancelled().await;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.idle_since().is_some()
    }

    fn idle_since(&self) -> Option<Instant> {
        *lock(&self.idle_since)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *lock(&self.0.idle_since) = Some(Instant::now());
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        lock(&self.seats.taken).seats.remove(&self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_idle_makes_room_and_the_busy_stay() {
        let seats = Arc::new(Seats::new(3, Duration::ZERO));
        let taken: Vec<Taking> = (0..3).filter_map(|_| seats.take()).collect();
        let busy = taken[0].seat.busy();
        let fourth = seats.take().unwrap();
        assert!(
            taken[1].seat.leave.is_cancelled(),
            "the oldest that is idle"
        );
        assert!(!taken[0].seat.leave.is_cancelled() && !taken[2].seat.leave.is_cancelled());
        let _others = [taken[2].seat.busy(), fourth.seat.busy()];
        assert!(seats.take().is_none(), "nobody is idle");
        drop(busy);
        assert!(seats.take().is_some());
        assert!(taken[0].seat.leave.is_cancelled());
    }

    #[tokio::test]
    async fn who_has_just_come_is_not_thrown_out() {
        let seats = Arc::new(Seats::new(2, Duration::from_secs(600)));
        let taken: Vec<Taking> = (0..2).filter_map(|_| seats.take()).collect();
        assert!(seats.take().is_none());
        assert!(taken.iter().all(|taking| !taking.seat.leave.is_cancelled()));
    }

    #[tokio::test]
    async fn a_place_that_is_left_is_free() {
        let seats = Arc::new(Seats::new(1, Duration::ZERO));
        let first = seats.take().unwrap();
        let _busy = first.seat.busy();
        assert!(seats.take().is_none());
        drop(first);
        assert!(seats.take().is_some());
    }
}
