use crate::config::Queues;
use crate::job::{JobView, RetryPolicy};

/// Fills in what a job's row does not hold: where it has no `max_attempts` of its own, its
/// queue's, or that of a queue that nothing was said about.
pub fn complete(job: &mut JobView, queues: &Queues) {
    if job.max_attempts.is_none() {
        let queue = queues.get(job.queue.as_str());
        let default = || RetryPolicy::default().max_attempts;
        job.max_attempts = Some(queue.map_or_else(default, |queue| queue.retry.max_attempts));
    }
}
