use crate::config::Queues;
use crate::job::JobView;

/// Fills in what a job's row does not hold: its queue's `max_attempts`, where it has none of
/// its own.
pub fn complete(job: &mut JobView, queues: &Queues) {
    if job.max_attempts.is_none() {
        job.max_attempts = queues
            .get(job.queue.as_str())
            .map(|queue| queue.retry.max_attempts);
    }
}
