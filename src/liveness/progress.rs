use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

use crate::job::QueueName;

/// How far each queue's normal lane has been delivered to this process.
///
/// A quorum queue delivers in order, so a job that is still `queued` though one dispatched long
/// after it has been delivered has lost its message.
#[derive(Debug, Default)]
pub struct Progress(Mutex<HashMap<QueueName, DateTime<Utc>>>);

impl Progress {
    /// A job that was dispatched at `queued_at` (store's clock) has been delivered.
    pub fn delivered(&self, queue: &QueueName, queued_at: DateTime<Utc>) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.get_mut(queue) {
            Some(seen) => *seen = queued_at.max(*seen),
            None => {
                newest.insert(queue.clone(), queued_at);
            }
        }
    }

    /// The newest dispatch that was delivered from this queue.
    #[must_use]
    pub fn newest(&self, queue: &QueueName) -> Option<DateTime<Utc>> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.get(queue).copied()
    }
}
