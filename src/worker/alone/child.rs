use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::frame::{frame, receive_blocking, send_blocking};
use super::{Assignment, End, Stop, Told};
use crate::config::Queues;
use crate::job::Kind;
use crate::store::{Fence, Store};
use crate::worker::handler_task;
use crate::worker::progress::ProgressBoard;
use crate::worker::transaction::{CommitCell, Ending};
use crate::worker::{Attempt, Handlers};

/// How often it is passed on how far the handler has come.
const PROGRESS: Duration = Duration::from_millis(500);

/// What a worker has handed over to this process.
#[derive(Debug)]
pub struct Hand {
    assignment: Assignment,
    payload: Bytes,
    received: Instant,
    stop: CancellationToken,
    worker: Arc<Mutex<UnixStream>>,
}

impl Hand {
    /// Takes it from standard input, and from then on watches that: this process ends at once,
    /// whatever it does, when the worker is gone.
    ///
    /// # Errors
    /// When standard input is not a worker's socket.
    pub fn take() -> std::io::Result<Self> {
        let socket: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned()?;
        let mut worker = UnixStream::from(socket);
        // A terminal or a pipe has no peer.
        worker.peer_addr()?;
        let assignment = serde_json::from_slice(&receive_blocking(&mut worker)?)?;
        let payload = receive_blocking(&mut worker)?.into();
        let stop = CancellationToken::new();
        let (listening, told) = (worker.try_clone()?, stop.clone());
        // A plain thread: the handler may block every thread of the runtime.
        std::thread::Builder::new()
            .name("worker-watch".to_owned())
            .spawn(move || watch(listening, &told))?;
        Ok(Self {
            assignment,
            payload,
            received: Instant::now(),
            stop,
            worker: Arc::new(Mutex::new(worker)),
        })
    }

    /// What is to be run.
    #[must_use]
    pub const fn kind(&self) -> &Kind {
        &self.assignment.kind
    }

    fn attempt(&self, store: Arc<dyn Store>, queues: Arc<Queues>) -> Attempt {
        let given = &self.assignment;
        Attempt {
            job_id: given.job,
            dispatch: given.dispatch,
            number: given.number,
            max_attempts: given.max_attempts,
            earlier_failures: given.earlier_failures,
            created_at: given.created_at,
            cancelled: self.stop.clone(),
            deadline: self.received + given.left,
            board: Arc::new(ProgressBoard::default()),
            ending: Ending {
                store,
                queues,
                fence: Fence {
                    id: given.job,
                    owner: given.owner,
                    epoch: given.epoch,
                },
                commit: Arc::new(CommitCell::default()),
            },
        }
    }
}

fn watch(mut worker: UnixStream, stop: &CancellationToken) {
    while let Ok(told) = receive_blocking(&mut worker) {
        if serde_json::from_slice::<Stop>(&told).is_ok() {
            stop.cancel();
        }
    }
    // The worker is gone, and with it the claim: what runs here would be a second run of a job
    // that is given to somebody else.
    std::process::exit(1);
}

/// Runs the job that was handed over, and tells how it ended. Timeout and cancellation are the
/// worker's, who kills this process.
///
/// # Errors
/// When nothing here runs its kind, or the worker cannot be told.
pub async fn serve(
    hand: Hand,
    handlers: &Handlers,
    store: Arc<dyn Store>,
    queues: Arc<Queues>,
) -> std::io::Result<()> {
    let Some(handler) = handlers.get(hand.kind()) else {
        let why = format!("nothing here runs {}", hand.kind());
        return Err(std::io::Error::other(why));
    };
    first_to_go();
    let attempt = hand.attempt(store, queues);
    let (board, commit) = (attempt.board.clone(), attempt.ending.commit.clone());
    tell(&hand.worker, &Told::Begins)?;
    let passing_on = tokio::spawn(pass_on(hand.worker.clone(), board));
    let handling = AssertUnwindSafe(handler.handle(hand.payload.clone(), attempt));
    let outcome = handler_task::outcome(tokio::spawn(handling.catch_unwind()).await);
    passing_on.abort();
    let told = Told::Ended {
        end: End::from(outcome),
        commit: commit.get(),
    };
    tell(&hand.worker, &told)
}

/// Passes on how far the handler has come.
async fn pass_on(worker: Arc<Mutex<UnixStream>>, board: Arc<ProgressBoard>) {
    loop {
        tokio::time::sleep(PROGRESS).await;
        for note in board.take() {
            let told = Told::Progress {
                fraction: note.progress.fraction,
                message: note.progress.message,
            };
            if tell(&worker, &told).is_err() {
                return;
            }
        }
    }
}

/// The worker always reads; and what is written is short, but for the result.
fn tell(worker: &Mutex<UnixStream>, told: &Told) -> std::io::Result<()> {
    let mut worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
    send_blocking(&mut *worker, &frame(told)?)
}

/// Where memory runs out, the kernel ends this process and not the worker (Linux, proc(5),
/// `oom_score_adj`).
fn first_to_go() {
    // A courtesy to the neighbours: where there is no such file, nothing is promised.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}
