//! Who is alive, and how far each queue has come, as this process has seen it.
//!
//! Each process raises a counter in the store every 2 s. Nobody compares wall clocks: a process
//! is dead only when an observer's own monotonic clock has seen its counter unchanged for 10 s
//! of successful reads, while the observer's own beats committed. [`Observer`] is that rule,
//! pure; [`Liveness`] beats, reads and remembers.

mod board;
mod flow;
mod heartbeat;
mod observer;
mod outage;
mod pace;
mod progress;

pub use flow::Flow;
pub use heartbeat::{Fate, Liveness};
pub use observer::{Observer, SILENCE};
pub use pace::Pace;
pub use progress::Progress;
