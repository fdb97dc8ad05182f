//! Measures an installation with processes and a queue of its own.
//!
//! The processes are real ones, of this same program; the load comes over HTTP, as an app's
//! would. What is measured is told beside the limit of the servers themselves, taken in the same
//! run, because a figure without one says more about the machine than about the program.

mod error;
mod latency;
mod load;
mod measure;
mod median;
mod meter;
mod noop;
mod process;
mod report;
mod runs;
mod spent;
mod usage;
mod workers;

pub use error::BenchError;
pub use latency::Latency;
pub use load::LoadError;
pub use measure::{Measure, Subject, Watch};
pub use meter::{Meter, Reading, Timings};
pub use noop::{Noop, kind, queue};
pub use process::{BenchProcess, ProcessError, Role};
pub use report::{Cpu, Limit, Memory, Rate, Report};
