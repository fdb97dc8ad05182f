//! What a process tells of itself, in the text that Prometheus and its like read.

mod metrics;

pub use metrics::{Held, Holding, Metrics, OPENMETRICS, RunTimer};
