use std::time::Duration;

use longshore::job::{JobId, Priority, Publication, QueueName, State};
use longshore::store::{HandedBack, OutboxEntry, OutboxId};

use super::db::{Db, Entry, span};
use crate::world::{Bug, Micros};

impl Db {
    pub(crate) fn enter(
        &mut self,
        now: Micros,
        lease: Duration,
        high: bool,
        jobs: Vec<(JobId, i32)>,
    ) -> OutboxId {
        self.next.outbox += 1;
        let entry = Entry {
            created: now,
            leased_until: now + span(lease),
            high,
            jobs,
        };
        self.outbox.insert(self.next.outbox, entry);
        OutboxId(self.next.outbox)
    }

    fn still_queued(&self, entry: &Entry) -> Vec<Publication> {
        let waits = |(id, dispatch): &(JobId, i32)| {
            let row = self.jobs.get(id)?;
            if row.state != State::Queued || row.dispatch != *dispatch {
                return None;
            }
            let mut publication = row.publication(*id);
            if entry.high {
                publication.priority = Priority::High;
            }
            Some(publication)
        };
        entry.jobs.iter().filter_map(waits).collect()
    }

    pub(super) fn lease_outbox(
        &mut self,
        now: Micros,
        limit: u32,
        lease: Duration,
        bug: Option<Bug>,
    ) -> Vec<OutboxEntry> {
        let free = |entry: &Entry| entry.leased_until <= now || bug == Some(Bug::DoubleLease);
        let ids: Vec<i64> = self
            .outbox
            .iter()
            .filter(|(_, entry)| free(entry))
            .map(|(id, _)| *id)
            .collect();
        let mut leased = Vec::new();
        for id in ids {
            if leased.len() == limit as usize {
                break;
            }
            let publications = self.still_queued(&self.outbox[&id]);
            if publications.is_empty() {
                self.outbox.remove(&id);
                continue;
            }
            for publication in &publications {
                if let Some(row) = self.jobs.get_mut(&publication.id) {
                    row.queued = now;
                }
            }
            if let Some(entry) = self.outbox.get_mut(&id) {
                entry.leased_until = now + span(lease);
            }
            let id = OutboxId(id);
            leased.push(OutboxEntry { id, publications });
        }
        leased
    }

    /// Whoever has it.
    pub(super) fn lease_again(&mut self, id: i64, until: Micros) -> Option<OutboxEntry> {
        let entry = self.outbox.get_mut(&id)?;
        entry.leased_until = until;
        let entry = entry.clone();
        let publications = self.still_queued(&entry);
        let id = OutboxId(id);
        (!publications.is_empty()).then_some(OutboxEntry { id, publications })
    }

    pub(super) fn outbox_age(&self, now: Micros) -> Option<Duration> {
        let idle = self
            .outbox
            .values()
            .filter(|entry| entry.leased_until <= now);
        let oldest = idle.map(|entry| entry.created).min()?;
        Some(Duration::from_micros(now - oldest))
    }

    pub(super) fn promote_due(
        &mut self,
        now: Micros,
        limit: u32,
        lease: Duration,
    ) -> Option<OutboxEntry> {
        let mut due: Vec<(Micros, JobId)> = self
            .jobs
            .iter()
            .filter_map(|(id, row)| Some((row.due.filter(|due| *due <= now)?, *id)))
            .collect();
        due.sort_unstable();
        due.truncate(limit as usize);
        let ids: Vec<JobId> = due.into_iter().map(|(_, id)| id).collect();
        for id in &ids {
            if let Some(row) = self.jobs.get_mut(id) {
                row.become_(State::Queued);
                row.dispatch += 1;
                row.queued = now;
                row.due = None;
            }
        }
        self.leased(now, lease, &ids)
    }

    pub(super) fn republish(
        &mut self,
        now: Micros,
        queue: &QueueName,
        horizon: Micros,
        limit: u32,
        lease: Duration,
    ) -> Option<OutboxEntry> {
        let mut lost: Vec<(Micros, JobId)> = self
            .jobs
            .iter()
            .filter(|(_, row)| row.state == State::Queued && row.queue == *queue)
            .filter(|(_, row)| row.queued < horizon)
            .map(|(id, row)| (row.queued, *id))
            .collect();
        lost.sort_unstable();
        lost.truncate(limit as usize);
        let ids: Vec<JobId> = lost.into_iter().map(|(_, id)| id).collect();
        for id in &ids {
            if let Some(row) = self.jobs.get_mut(id) {
                row.queued = now;
            }
        }
        self.leased(now, lease, &ids)
    }

    pub(super) fn hand_back(
        &mut self,
        now: Micros,
        dispatches: &[(JobId, i32)],
    ) -> Vec<HandedBack> {
        let mut queued = Vec::new();
        let answers = dispatches
            .iter()
            .map(|(id, dispatch)| match self.standing(*id) {
                Some(row) if row.state == State::Queued && row.dispatch == *dispatch => {
                    queued.push((*id, *dispatch));
                    HandedBack::Entered
                }
                standing => HandedBack::Not(standing),
            })
            .collect();
        if !queued.is_empty() {
            self.enter(now, Duration::ZERO, true, queued);
        }
        answers
    }
}
